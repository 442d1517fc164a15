"""Where a module runs: on the processor, or on a card with a memory of its own.

A card's module takes its weights as arguments: they are copied to the card once, when the module is
loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.card_binaries import offer_binary
from dcc.codegen.module_file import read_weights
from dcc.errors import ModuleError, TargetError
from dcc.targets.cuda import find_card, why_unfit
from dcc.tvm_library import load_cuda_library, load_runtime_library

# Constants of the virtual machine's interface.
_CPU, _CUDA, _FIRST, _POOLED = 1, 2, 0, 2
Array = npt.NDArray[Any]


class DeviceWeights:
    """The processor: nothing to copy, weights are linked into the code."""

    def virtual_machine(self, library: Any) -> Any:
        """Make a virtual machine that runs ``library``."""
        machine = library["vm_load_executable"]()
        machine["vm_initialization"](_CPU, _FIRST, _POOLED)
        return machine

    def decoded(self, machine: Any, decode: bool) -> list[Any]:
        """Decode what is decoded at load; returns the arguments of ``main`` behind its inputs."""
        if decode:
            machine["decode"]()
        return []

    def sent(self, tensors: list[Any]) -> list[Any]:
        """Return ``tensors`` where the module reads them."""
        return tensors

    def received(self, tensors: Sequence[Any]) -> list[Array]:
        """Copy results to arrays of their own."""
        return [np.from_dlpack(tensor).copy() for tensor in tensors]

    def wait(self) -> None:
        """Wait until everything that was started is done."""


class CudaWeights(DeviceWeights):
    """A card; ``weights`` is the module's section, ``layout`` where its arrays stand in it."""

    def __init__(self, weights: bytes, layout: dict[str, Any]) -> None:
        import tvm_ffi

        names = {
            "make": "TVMTensorAllocWithScope",
            "send": "TVMTensorCopyFromBytes",
            "receive": "TVMTensorCopyToBytes",
        }
        self._call = {
            key: tvm_ffi.get_global_func(f"runtime.{name}") for key, name in names.items()
        }
        self._device = tvm_ffi.device("cuda", _FIRST)
        self._layout = layout
        self._inputs: list[Any] = []
        self._mark = self._empty((1,), "uint8")
        self._arrays = [self._placed(weights, place) for place in layout["arrays"]]

    def virtual_machine(self, library: Any) -> Any:
        """Make a virtual machine that runs ``library`` on the card, and shapes on the processor."""
        machine = library["vm_load_executable"]()
        machine["vm_initialization"](_CUDA, _FIRST, _POOLED, _CPU, _FIRST, _POOLED)
        return machine

    def decoded(self, machine: Any, decode: bool) -> list[Any]:
        """Return the weights, and what ``decode`` makes of some."""
        if not decode:
            return self._arrays
        results = machine["decode"](*(self._arrays[number] for number in self._layout["decode"]))
        return [*self._arrays, *results]

    def sent(self, tensors: list[Any]) -> list[Any]:
        """Copy inputs to the card, into tensors that are kept."""
        arrays = [np.from_dlpack(tensor) for tensor in tensors]
        if not self._inputs:
            self._inputs = [self._empty(array.shape, array.dtype.name) for array in arrays]
        for target, array in zip(self._inputs, arrays, strict=True):
            if array.nbytes:
                self._call["send"](target, _pointer(array), array.nbytes)
        return self._inputs

    def received(self, tensors: Sequence[Any]) -> list[Array]:
        """Copy results from the card."""
        found = []
        for tensor in tensors:
            array = np.empty([int(n) for n in tensor.shape], str(tensor.dtype))
            if array.nbytes:
                self._call["receive"](tensor, _pointer(array), array.nbytes)
            found.append(array)
        return found

    def wait(self) -> None:
        """Wait for the card: a copy to the processor does."""
        self._call["receive"](self._mark, _pointer(np.empty(1, np.uint8)), 1)

    def _empty(self, shape: Sequence[int], dtype: str) -> Any:
        import tvm_ffi

        kind = tvm_ffi.dtype(dtype)
        return self._call["make"](tvm_ffi.Shape(tuple(shape)), kind, self._device, None)

    def _placed(self, weights: bytes, place: dict[str, Any]) -> Any:
        """Copy the array at a place of the weights to the card."""
        tensor = self._empty(place["shape"], place["dtype"])
        count = int(np.prod(place["shape"], dtype=np.int64))
        array = np.frombuffer(weights, np.dtype(place["dtype"]), count, place["offset"])
        if count:
            self._call["send"](tensor, _pointer(array), array.nbytes)
        return tensor


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def open_device(metadata: dict[str, Any], path: str | Path) -> DeviceWeights:
    """Find the device of a module, and copy its weights there.

    Raises
    ------
    TargetError
        There is no such device on this machine, or TVM's runtime for it is missing.
    ModuleError
        The weights are not where the metadata says.
    """
    if "device" not in metadata:
        load_runtime_library()
        return DeviceWeights()
    name = metadata["target"].get("name", "cuda")
    layout = metadata["device"]
    if layout["kind"] != "cuda":
        raise TargetError(f"'{path}' is for '{name}', which this version of dcc cannot run")
    card, arch = find_card(), str(metadata["target"].get("arch", ""))
    if card is None:
        raise TargetError(
            f"'{path}' is compiled for '{name}' and needs a CUDA card, which this machine lacks: "
            "run it on a machine with one, or compile it for 'host'"
        )
    unfit = why_unfit(card, arch)
    if unfit is not None:
        raise TargetError(
            f"'{path}' is compiled for {unfit}: compile it with '--target cuda' on this machine"
        )
    weights = read_weights(path)
    ends = [code["offset"] + code["size"] for code in layout["code"]]
    for place in layout["arrays"]:
        size = int(np.prod(place["shape"], dtype=np.int64)) * np.dtype(place["dtype"]).itemsize
        ends.append(place["offset"] + size)
    if max(ends, default=0) > len(weights):
        raise ModuleError(f"'{path}': the metadata is damaged (device): compile it again")
    load_cuda_library()
    for code in layout["code"]:
        offer_binary(code["source"], weights[code["offset"] : code["offset"] + code["size"]])
    return CudaWeights(weights, layout)
