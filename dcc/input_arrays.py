"""The input tensors of a module: kept from call to call, filled and checked at each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.errors import InputError
from dcc.tensor_spec import TensorSpec

_ALIGNMENT = 64  # bytes; what TVM's kernels assume of a tensor


class InputArrays:
    """Aligned arrays, one an input, and the same memory as tensors of TVM.

    Attributes
    ----------
    arrays : list of numpy arrays
    """

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = specs
        self._names = dict.fromkeys(spec.name for spec in specs)
        self.arrays = [_aligned(spec) for spec in specs]

    @functools.cached_property
    def tensors(self) -> list[Any]:
        """The arrays as arguments of the virtual machine's function."""
        import tvm_ffi

        return [tvm_ffi.from_dlpack(array) for array in self.arrays]

    def fill(self, inputs: tuple[Any, ...]) -> None:
        """Copy ``inputs`` (in order, or one mapping by name) into the tensors.

        Raises
        ------
        InputError
            Wrong number, names, shapes or dtypes; nothing is run then.
        """
        values = self._in_order(inputs)
        for position, (array, value) in enumerate(zip(self.arrays, values, strict=True)):
            fits = type(value) is np.ndarray and value.dtype == array.dtype
            if not (fits and value.shape == array.shape):
                value = _converted(value, self._specs[position])
            array[...] = value

    def _in_order(self, inputs: tuple[Any, ...]) -> Sequence[Any]:
        if len(inputs) == 1 and isinstance(inputs[0], (dict, Mapping)):  # dict: the quick answer
            return self._by_name(inputs[0])
        if len(inputs) != len(self._specs):
            raise InputError(
                f"the model has {len(self._specs)} inputs ({self._listed()}), {len(inputs)} were "
                "given: give one array for each, or a dict by name"
            )
        return inputs

    def _by_name(self, inputs: Mapping[str, Any]) -> list[Any]:
        if inputs.keys() == self._names.keys():
            return [inputs[name] for name in self._names]
        unknown = [name for name in inputs if name not in self._names]
        missing = [name for name in self._names if name not in inputs]
        faults = [f"unknown: {', '.join(map(repr, unknown))}"] * bool(unknown)
        faults += [f"missing: {', '.join(map(repr, missing))}"] * bool(missing)
        raise InputError(
            f"the names of the inputs do not fit ({'; '.join(faults)}); expected: {self._listed()}"
        )

    def _listed(self) -> str:
        return "; ".join(map(str, self._specs)) or "none"


def _aligned(spec: TensorSpec) -> npt.NDArray[Any]:
    dtype = np.dtype(spec.dtype)
    size = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
    # At least one byte, so that the pointer of an empty tensor is aligned memory too.
    memory = np.zeros(max(size, 1) + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(spec.shape)


def _converted(value: Any, spec: TensorSpec) -> npt.NDArray[Any]:
    """Check one input; numbers and lists are converted, arrays must have the right dtype."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"input '{spec.name}': not an array ({error}); expected {spec}") from None
    expected = np.dtype(spec.dtype)
    if array.shape != spec.shape:
        raise InputError(
            f"input '{spec.name}' has shape {list(array.shape)}, expected {list(spec.shape)}"
        )
    if array.dtype.newbyteorder("=") == expected:
        return array
    if isinstance(value, (bool, int, float, list, tuple)) and _holds(array, expected):
        return array.astype(expected)
    raise InputError(
        f"input '{spec.name}' has dtype {array.dtype}, expected {expected}: "
        f"convert it with .astype('{expected}')"
    )


def _holds(array: npt.NDArray[Any], expected: np.dtype[Any]) -> bool:
    """Tell whether Python numbers fit ``expected``: exactly, but for the rounding of floats."""
    if array.dtype.kind not in "biuf":
        return False
    if expected.kind == "f":
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.array_equal(array.astype(expected), array))
