"""The functions that a module calls for its accelerator, by their names in the virtual machine.

They belong to the module that is running in the calling thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.blocks import pack_activations, unpack_activations
from dcc.codegen.vta.buffers import DEQUANTIZE, QUANTIZE, RUN
from dcc.errors import DccError

Int8 = npt.NDArray[np.int8]


class Runs(Protocol):
    """Runs operations by number: a device, or its reference."""

    def run(self, number: int, inputs: Sequence[Int8], output: Int8) -> None:
        """Run an operation on packed tensors."""

    def close(self) -> None:
        """Give the device back."""


class _Active(threading.local):
    executor: Runs | None = None
    failure: DccError | None = None


_active = _Active()


@contextmanager
def running_on(executor: Runs) -> Iterator[None]:
    """Let the calls of this thread go to ``executor``; its errors come out as they are."""
    register()
    outer = _active.executor
    _active.executor, _active.failure = executor, None
    try:
        yield
    except Exception:
        if _active.failure is not None:
            raise _active.failure from None
        raise
    finally:
        _active.executor = outer


def register() -> None:
    """Make the functions known to the virtual machine, once in a process."""
    import tvm_ffi

    for name, function in ((RUN, _run), (QUANTIZE, _quantize), (DEQUANTIZE, _dequantize)):
        tvm_ffi.register_global_func(name, function, override=True)


def quantize(x: npt.NDArray[np.floating], exponent: int) -> Int8:
    """Round to multiples of ``2**-exponent``, half to even, and clip to int8."""
    scaled = np.rint(np.ldexp(x.astype(np.float64), exponent))
    return np.clip(np.nan_to_num(scaled), -128, 127).astype(np.int8)


def dequantize(x: Int8, exponent: int) -> npt.NDArray[np.float32]:
    """Give the numbers that int8 stands for."""
    return np.ldexp(x.astype(np.float32), -exponent)


def as_images(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """Batch, channels, height and width as which the device sees a tensor of ``shape``.

    Rows of a matrix become columns of one image, so that they share the weights.
    """
    if len(shape) == 4:
        return shape[0], shape[1], shape[2], shape[3]
    if len(shape) == 3:
        return shape[0], shape[1], 1, shape[2]
    return 1, shape[-1], 1, int(np.prod(shape[:-1]))


def to_images(x: npt.NDArray[Any], rows: bool) -> npt.NDArray[Any]:
    """View a tensor as images; ``rows``: the last axis holds channels, the rest are rows."""
    if rows:
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T)[None, :, None, :]
    return x.reshape(as_images(x.shape))


def from_images(x: npt.NDArray[Any], shape: Sequence[int], rows: bool) -> npt.NDArray[Any]:
    """Inverse of :func:`to_images`."""
    if rows:
        return np.ascontiguousarray(x[0, :, 0, :].T).reshape(shape)
    return x.reshape(shape)


def _run(number: int, *tensors: Any) -> None:
    arrays: list[npt.NDArray[Any]] = [np.from_dlpack(tensor) for tensor in tensors]
    executor = _active.executor
    if executor is None:
        raise RuntimeError("a module for an accelerator runs only through dcc.load")
    try:
        executor.run(int(number), arrays[:-1], arrays[-1])
    except DccError as error:
        _active.failure = error
        raise


def _quantize(exponent: int, rows: int, tensor: Any, out: Any) -> None:
    x: npt.NDArray[Any] = np.from_dlpack(tensor)
    target: npt.NDArray[Any] = np.from_dlpack(out)
    target[...] = pack_activations(to_images(quantize(x, int(exponent)), bool(rows)))


def _dequantize(exponent: int, rows: int, tensor: Any, out: Any) -> None:
    packed: npt.NDArray[Any] = np.from_dlpack(tensor)
    target: npt.NDArray[Any] = np.from_dlpack(out)
    shape = target.shape
    images = (1, shape[-1], 1, int(np.prod(shape[:-1]))) if rows else as_images(shape)
    values = from_images(unpack_activations(packed, images), shape, bool(rows))
    target[...] = dequantize(values, int(exponent))
