"""ONNX Runtime as the reference: what a model answers, and the models it can be asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcc.errors import DccError, InputError, ModelError
from dcc.tensor_spec import TensorSpec

if TYPE_CHECKING:
    import onnx

_WARNINGS_OFF = 3


class ReferenceModel:
    """A model in ONNX Runtime, on the CPU.

    Parameters
    ----------
    path
        An ONNX file, or a ``.dcz`` file, which is decompressed in memory.
    threads
        Threads within an operator; None leaves the choice to ONNX Runtime.

    Attributes
    ----------
    inputs, outputs : list of str
        Names in the order of the graph.

    Raises
    ------
    ModelError, ContainerError
        The file cannot be read, or ONNX Runtime refuses the model.
    DccError
        ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = _WARNINGS_OFF
        # Threads that spin while they wait would take the time of whatever is measured next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        source = _source(path)
        try:
            self._session = runtime.InferenceSession(source, options, ["CPUExecutionProvider"])
        except Exception as error:  # its exception classes are not public
            raise ModelError(f"ONNX Runtime refuses '{path}': {_one_line(error)}") from None
        self._path = path
        self.inputs = [node.name for node in self._session.get_inputs()]
        self.outputs = [node.name for node in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the model on arrays by input name.

        Raises
        ------
        InputError
            Names, shapes or types do not fit the model.
        """
        try:
            return list(self._session.run(None, dict(inputs)))
        except Exception as error:  # its exception classes are not public
            raise InputError(f"ONNX Runtime on '{self._path}': {_one_line(error)}") from None

    def check_interface(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        """Make sure that a module with these inputs and outputs can be compared with the model.

        Raises
        ------
        ModelError
            The names differ.
        """
        ours = {spec.name for spec in inputs}, [spec.name for spec in outputs]
        theirs = set(self.inputs), self.outputs
        if ours != theirs:
            raise ModelError(
                f"'{self._path}' is another model than the module: it has the inputs "
                f"{self.inputs} and outputs {self.outputs}, the module has "
                f"{[spec.name for spec in inputs]} and {ours[1]}"
            )


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, an optional dependency.

    Raises
    ------
    DccError
        It is not installed; the message says how to install it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DccError(
            "ONNX Runtime is needed to compare with and is not installed: "
            "pip install '.[verify]' in dcc's source tree"
        ) from error
    return onnxruntime


def reference_graph(path: str | Path) -> onnx.ModelProto:
    """Read an ONNX or ``.dcz`` file as a plain ONNX model with its weights.

    Raises
    ------
    ModelError, ContainerError
        The file cannot be read.
    """
    from dcc.container import is_container, read

    if is_container(path):
        return read(path).to_onnx()
    from dcc.onnx_weights import load_model

    return load_model(path)


def _source(path: str | Path) -> str | bytes:
    """Give ONNX Runtime a path where there is one, so that it finds external data."""
    from dcc.container import is_container

    if is_container(path):
        return bytes(reference_graph(path).SerializeToString())
    if not Path(path).is_file():
        raise ModelError(f"there is no file '{path}'; expected an ONNX or .dcz file")
    return str(path)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
