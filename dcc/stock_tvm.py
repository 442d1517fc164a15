"""The dense opponent: a model through TVM's own ONNX importer and default pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dcc.errors import CompileError
from dcc.reference import reference_graph
from dcc.targets.registry import get_target
from dcc.tensor_spec import TensorSpec


def build_stock_module(reference: str | Path, inputs: Sequence[TensorSpec], output: Path) -> None:
    """Compile ``reference`` with TVM alone for this machine and write a shared library.

    Parameters
    ----------
    reference
        An ONNX or ``.dcz`` file.
    inputs
        The shapes to compile for.
    output
        The library; its function ``main`` takes the inputs in the order of ``inputs``.

    Raises
    ------
    CompileError
        TVM cannot import or build the model (it cannot for every third real one).
    """
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    graph = reference_graph(reference)
    # The importer sorts nothing: main has the order of the graph, which is the order of ``inputs``.
    shapes = {spec.name: list(spec.shape) for spec in inputs}
    try:
        module = from_onnx(graph, shapes, keep_params_in_input=False)
        with tvm.transform.PassContext(opt_level=3):
            built = relax.build(module, get_target("host").tvm_target())
        built.export_library(str(output))
    except Exception as error:  # TVM raises whatever it likes
        first = str(error).strip().splitlines()
        reason = first[-1] if first else type(error).__name__
        raise CompileError(
            f"TVM's own importer and pipeline fail on '{reference}': {reason}"
        ) from error
