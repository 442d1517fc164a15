"""A module that runs on a device in the network, by TVM's RPC server there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.module_file import read_module
from dcc.errors import InputError, ModuleError, TargetError
from dcc.input_arrays import InputArrays
from dcc.running import check_place
from dcc.tensor_spec import TensorSpec

_TIMEOUT_SECONDS = 60


class RemoteModule:
    """Called like :class:`dcc.Module`; the library is sent once, inputs at each call.

    Needs the whole of TVM here, and on the device ``python -m tvm.exec.rpc_server`` of the same
    version.
    """

    def __init__(self, path: str | Path, address: str) -> None:
        file = read_module(path)
        check_place(file.metadata, path, "--rpc")
        self.metadata = file.metadata
        self.inputs = [TensorSpec.from_json(spec) for spec in self.metadata["inputs"]]
        self.outputs = [TensorSpec.from_json(spec) for spec in self.metadata["outputs"]]
        self._arrays = InputArrays(self.inputs)
        self._session = _connect(*_parsed(address))
        self._machine = self._load(Path(path), address)

    def __call__(
        self, *inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]
    ) -> list[npt.NDArray[Any]]:
        """Run the model once.

        Raises
        ------
        InputError
            Wrong number, names, shapes or dtypes of inputs.
        ModuleError
            The device failed.
        """
        import tvm

        self._arrays.fill(inputs)
        device = self._session.cpu(0)
        try:
            sent = [tvm.runtime.tensor(array, device) for array in self._arrays.arrays]
            self._machine.set_input("main", *sent)
            self._machine.invoke_stateful("main")
            result = self._machine.get_outputs("main")
            tensors = [result] if hasattr(result, "numpy") else list(result)
            arrays = [np.array(tensor.numpy()) for tensor in tensors]
        except RuntimeError as error:
            raise ModuleError(f"the device failed ({_last_line(error)})") from None
        return [
            array.view(np.bool_) if spec.dtype == "bool" and array.dtype != np.bool_ else array
            for array, spec in zip(arrays, self.outputs, strict=True)
        ]

    def _load(self, path: Path, address: str) -> Any:
        from tvm import relax

        try:
            self._session.upload(str(path))
            library = self._session.load_module(path.name)
            machine = relax.VirtualMachine(library, self._session.cpu(0))
            if self.metadata["decode"]:
                machine["decode"]()
        except RuntimeError as error:
            raise TargetError(
                f"the device at {address} cannot load '{path}' ({_last_line(error)}): is it "
                "compiled for that device, and is TVM there of the same version?"
            ) from None
        return machine


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--rpc {address}: expected HOST:PORT, such as 192.168.0.7:9090")
    return host.strip("[]"), int(port)


def _connect(host: str, port: int) -> Any:
    try:
        from tvm import rpc
    except ImportError as error:
        raise TargetError(f"TVM's RPC cannot be used ({error}): install the extra 'tune'") from None

    try:
        return rpc.connect(host, port, session_timeout=_TIMEOUT_SECONDS)
    except (RuntimeError, OSError) as error:
        raise TargetError(
            f"there is no RPC server of TVM at {host}:{port} ({_last_line(error)}): start it on "
            "the device with 'python -m tvm.exec.rpc_server --host 0.0.0.0 "
            f"--port {port} --port-end {port + 1}'"
        ) from None


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
