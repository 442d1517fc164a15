"""Pad in every mode, as slices and concatenations that TVM computes right."""

from __future__ import annotations

from typing import Literal

import numpy as np
from tvm import relax

from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation, constant

_MODES: dict[str, Literal["reflect", "edge", "wrap", "constant"]] = {
    "reflect": "reflect",
    "edge": "edge",
    "wrap": "wrap",
    "constant": "constant",
}


@converter("Pad")
def pad(operation: Operation) -> relax.Expr:
    """Pad each axis; negative amounts crop, modes but ``constant`` gather along the axis."""
    mode = operation.attribute("mode", "constant")
    if mode not in _MODES:
        raise operation.error(f"mode '{mode}' is not one that ONNX knows")
    begins, ends = _amounts(operation)
    if mode == "constant":
        return _constant(operation, begins, ends)
    result = operation.tensor(0)
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin or end:
            positions = _positions(operation.shape()[axis], begin, end, mode)
            result = relax.op.take(result, constant(positions), axis=axis, mode="clip")
            result = operation.emit(result)
    return result


def _amounts(operation: Operation) -> tuple[list[int], list[int]]:
    """Elements to add before and after each axis."""
    rank = operation.rank()
    if operation.has(1):
        pads = operation.integers(1, "pads")
    else:
        pads = list(operation.attribute("pads") or operation.attribute("paddings") or ())
    axes = (
        [operation.normal_axis(a) for a in operation.integers(3, "axes")]
        if (operation.has(3))
        else list(range(rank))
    )
    if len(pads) != 2 * len(axes):
        raise operation.error(f"pads has {len(pads)} entries, expected {2 * len(axes)}")
    begins, ends = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[index], pads[index + len(axes)]
    return begins, ends


def _positions(size: int, begin: int, end: int, mode: str) -> np.ndarray:
    """Source positions of the padded axis (numpy's pad modes have ONNX's meaning)."""
    crop = np.arange(size)[max(-begin, 0) : size - max(-end, 0)]
    return np.pad(crop, (max(begin, 0), max(end, 0)), mode=_MODES[mode]).astype(np.int64)


def _constant(operation: Operation, begins: list[int], ends: list[int]) -> relax.Expr:
    result = operation.tensor(0)
    cropped = [axis for axis in range(len(begins)) if begins[axis] < 0 or ends[axis] < 0]
    if cropped:
        starts = [max(-begins[axis], 0) for axis in cropped]
        stops = [operation.shape()[axis] + min(ends[axis], 0) for axis in cropped]
        result = operation.emit(relax.op.strided_slice(result, cropped, starts, stops))
    widths = [max(amount, 0) for pair in zip(begins, ends, strict=True) for amount in pair]
    if not any(widths):
        return result
    if operation.has(2):
        known = operation.known(2)
        if known is None:
            return _computed(operation, result, widths)
        value = known.reshape(-1)[0].item() if known.size else 0
    else:
        value = operation.attribute("value", 0.0)
    return relax.op.nn.pad(result, widths, pad_mode="constant", pad_value=value)


def _computed(operation: Operation, data: relax.Expr, widths: list[int]) -> relax.Expr:
    """Pad with a value that the model computes: select it outside the data."""
    inside = relax.op.nn.pad(relax.op.ones_like(data), widths, pad_value=0)
    padded = operation.emit(relax.op.nn.pad(data, widths, pad_value=0))
    value = operation.emit(relax.op.reshape(operation.tensor(2), ()))
    is_inside = relax.op.greater(inside, operation.scalar(0))
    return relax.op.where(is_inside, padded, value)
