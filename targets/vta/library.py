"""A driver library of the user's own: VTA's C functions, loaded with ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.errors import DriverError
from dcc.targets.vta.driver import Buffer

_POINTER, _ADDRESS, _SIZE = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_size_t
_FUNCTIONS: dict[str, tuple[list[type], type | None]] = {
    "VTAMemAlloc": ([_SIZE, ctypes.c_int], _POINTER),
    "VTAMemGetPhyAddr": ([_POINTER], _ADDRESS),
    "VTAMemFree": ([_POINTER], None),
    "VTAFlushCache": ([_POINTER, _ADDRESS, ctypes.c_int], None),
    "VTAInvalidateCache": ([_POINTER, _ADDRESS, ctypes.c_int], None),
    "VTADeviceAlloc": ([], _POINTER),
    "VTADeviceFree": ([_POINTER], None),
    "VTADeviceRun": ([_POINTER, _ADDRESS, ctypes.c_uint32, ctypes.c_uint32], ctypes.c_int),
}
_WAIT_CYCLES = 1 << 31


@dataclass
class LibraryBuffer:
    """Memory that a driver library allocated."""

    physical: int
    view: npt.NDArray[np.uint8]
    pointer: int


class LibraryDriver:
    """Runs streams through a shared library with VTA's driver functions."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        library = _load(self._path)
        self._functions = {name: _function(library, name, self._path) for name in _FUNCTIONS}
        self._device = self._functions["VTADeviceAlloc"]()
        if not self._device:
            raise DriverError(f"'{path}': VTADeviceAlloc found no device")

    def allocate(self, nbytes: int, cached: bool = True) -> LibraryBuffer:
        """Call VTAMemAlloc."""
        size = max(nbytes, 1)
        pointer = self._functions["VTAMemAlloc"](size, int(cached))
        if not pointer:
            raise DriverError(f"'{self._path}': VTAMemAlloc of {nbytes:,} bytes failed")
        physical = int(self._functions["VTAMemGetPhyAddr"](pointer))
        if physical % 256:
            raise DriverError(
                f"'{self._path}': VTAMemAlloc gave the physical address {physical:#x}, "
                "expected a multiple of 256 (the bytes of a weight block)"
            )
        array = (ctypes.c_uint8 * size).from_address(pointer)
        return LibraryBuffer(physical, np.ctypeslib.as_array(array)[:nbytes], pointer)

    def free(self, buffer: Buffer) -> None:
        """Call VTAMemFree."""
        self._functions["VTAMemFree"](_pointer(buffer))

    def flush(self, buffer: Buffer) -> None:
        """Call VTAFlushCache."""
        self._functions["VTAFlushCache"](_pointer(buffer), buffer.physical, buffer.view.nbytes)

    def invalidate(self, buffer: Buffer) -> None:
        """Call VTAInvalidateCache."""
        self._functions["VTAInvalidateCache"](_pointer(buffer), buffer.physical, buffer.view.nbytes)

    def run(self, stream: Buffer, count: int) -> None:
        """Call VTADeviceRun."""
        status = self._functions["VTADeviceRun"](self._device, stream.physical, count, _WAIT_CYCLES)
        if status:
            raise DriverError(
                f"'{self._path}': VTADeviceRun of {count} instructions returned {status} "
                "(the device did not finish in time)"
            )

    def close(self) -> None:
        """Call VTADeviceFree."""
        if self._device:
            self._functions["VTADeviceFree"](self._device)
            self._device = None


def _pointer(buffer: Buffer) -> int:
    assert isinstance(buffer, LibraryBuffer)
    return buffer.pointer


def _load(path: Path) -> ctypes.CDLL:
    if not path.is_file():
        raise DriverError(
            f"there is no driver library '{path}': give the path of a shared library with VTA's "
            "driver functions"
        )
    try:
        return ctypes.CDLL(str(path.resolve()))
    except OSError as error:
        raise DriverError(f"the driver library '{path}' cannot be loaded: {error}") from None


def _function(library: ctypes.CDLL, name: str, path: Path) -> Callable[..., Any]:
    missing = [each for each in _FUNCTIONS if not hasattr(library, each)]
    if missing:
        raise DriverError(
            f"the driver library '{path}' lacks {', '.join(missing)}: it must export VTA's driver "
            f"functions ({', '.join(_FUNCTIONS)})"
        )
    function: Any = getattr(library, name)
    function.argtypes, function.restype = _FUNCTIONS[name]
    found: Callable[..., Any] = function
    return found
