"""MaxPool, AveragePool with an exact divisor, and ConvTranspose with ``output_shape``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tvm import relax

from dcc.importer import upstream
from dcc.importer.converters.registry import converter
from dcc.importer.converters.windows import explicit_padding, window_attribute
from dcc.importer.operation import Operation, constant

_AVERAGE = {3: relax.op.nn.avg_pool1d, 4: relax.op.nn.avg_pool2d, 5: relax.op.nn.avg_pool3d}
_MAXIMUM = {3: relax.op.nn.max_pool1d, 4: relax.op.nn.max_pool2d, 5: relax.op.nn.max_pool3d}


@dataclass(frozen=True)
class _Windows:
    """Geometry of a pooling, per spatial axis; ``ends`` makes the last window fit exactly."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begins: list[int]
    stated_ends: list[int]
    ends: list[int]
    outputs: list[int]


def _windows(operation: Operation) -> _Windows:
    """Explicit padding and output sizes, ``auto_pad`` and ``ceil_mode`` worked out.

    With ``ceil_mode`` a last window that would start beyond the data and the padding before it is
    dropped.
    """
    if operation.rank() not in _AVERAGE:
        raise operation.error(f"expected 1 to 3 spatial dimensions, got rank {operation.rank()}")
    kernel = list(operation.attribute("kernel_shape", ()))
    strides, dilations = (window_attribute(operation, n) for n in ("strides", "dilations"))
    if len(kernel) != len(strides):
        raise operation.error(f"kernel_shape has {len(kernel)} entries, expected {len(strides)}")
    pads = explicit_padding(operation, kernel)
    begins, stated_ends = pads[: len(kernel)], pads[len(kernel) :]
    ends, outputs = [], []
    for axis, size in enumerate(operation.shape()[2:]):
        window = (kernel[axis] - 1) * dilations[axis] + 1
        room = begins[axis] + size + stated_ends[axis] - window
        count = room // strides[axis] + 1
        if operation.attribute("ceil_mode", 0):
            count = -(-room // strides[axis]) + 1
            count -= (count - 1) * strides[axis] >= size + begins[axis]
        if room < 0 or count < 1:
            raise operation.error(
                f"a window of {window} does not fit into axis {axis + 2} ({size})"
            )
        outputs.append(count)
        ends.append((count - 1) * strides[axis] + window - begins[axis] - size)
    return _Windows(kernel, strides, dilations, begins, stated_ends, ends, outputs)


@converter("MaxPool")
def max_pool(operation: Operation) -> relax.Expr:
    """Maximum over windows; padding never wins."""
    if len(operation.node.outputs) > 1:
        raise operation.error("the second output 'Indices' is not supported")
    windows = _windows(operation)
    return _MAXIMUM[operation.rank()](
        operation.tensor(0),
        pool_size=windows.kernel,
        strides=windows.strides,
        dilation=windows.dilations,
        padding=[*windows.begins, *(max(end, 0) for end in windows.ends)],
    )


@converter("AveragePool")
def average_pool(operation: Operation) -> relax.Expr:
    """Pool the zero-padded data, then correct the divisor where a window leaves the data.

    The divisor counts data elements, or with ``count_include_pad`` those of the explicit padding,
    too; the extra elements that ``ceil_mode`` reaches never count.
    """
    windows = _windows(operation)
    pooled = operation.emit(
        _AVERAGE[operation.rank()](
            _padded(operation, windows.begins, windows.ends),
            pool_size=windows.kernel,
            strides=windows.strides,
            dilation=windows.dilations,
        )
    )
    divisor = np.ones((1, 1))
    for axis, size in enumerate(operation.shape()[2:]):
        divisor = divisor[..., None] * _valid_elements(operation, windows, axis, size)
    correction = np.prod(windows.kernel) / np.maximum(divisor, 1)
    if np.all(correction == 1.0):
        return pooled
    return relax.op.multiply(pooled, constant(correction.astype(operation.dtype())))


def _valid_elements(operation: Operation, windows: _Windows, axis: int, size: int) -> np.ndarray:
    """How many elements of each window along an axis count for the average."""
    first, last = windows.begins[axis], windows.begins[axis] + size
    if operation.attribute("count_include_pad", 0):
        first, last = 0, last + windows.stated_ends[axis]
    starts = np.arange(windows.outputs[axis])[:, None] * windows.strides[axis]
    taps = starts + np.arange(windows.kernel[axis]) * windows.dilations[axis]
    return ((taps >= first) & (taps < last)).sum(axis=1)


def _padded(operation: Operation, begins: list[int], ends: list[int]) -> relax.Expr:
    """Zero-padded data; what no window reaches at the end (a negative amount) is cropped."""
    data = operation.tensor(0)
    shape = operation.shape()
    crops = [axis for axis, end in enumerate(ends) if end < 0]
    if crops:
        axes = [2 + axis for axis in crops]
        stops = [shape[2 + axis] + ends[axis] for axis in crops]
        data = operation.emit(relax.op.strided_slice(data, axes, [0] * len(axes), stops))
    widths = [0] * 4
    for begin, end in zip(begins, ends, strict=True):
        widths += [begin, max(end, 0)]
    return operation.emit(relax.op.nn.pad(data, widths)) if any(widths) else data


@converter("ConvTranspose")
def convolution_transpose(operation: Operation) -> relax.Expr:
    """``output_shape`` turned into pads (ONNX operator ConvTranspose), the rest by TVM."""
    wanted = operation.attribute("output_shape")
    if not wanted:
        return upstream.convert(operation)
    spatial = operation.rank() - 2
    wanted = list(wanted)[-spatial:]
    strides, dilations = (window_attribute(operation, n) for n in ("strides", "dilations"))
    extra = list(operation.attribute("output_padding") or [0] * spatial)
    begins, ends = [], []
    for axis in range(spatial):
        window = (operation.shape(1)[2 + axis] - 1) * dilations[axis] + 1
        full = strides[axis] * (operation.shape()[2 + axis] - 1) + extra[axis] + window
        total = full - wanted[axis]
        if total < 0:
            # More outputs than the windows reach: zeros at the end.
            extra[axis] -= total
            total = 0
        half = total // 2
        begin = half if operation.attribute("auto_pad") == "SAME_UPPER" else total - half
        begins.append(begin)
        ends.append(total - begin)
    attributes = {
        k: v for k, v in operation.node.attributes.items() if k not in ("auto_pad", "output_shape")
    }
    attributes.update(pads=(*begins, *ends), output_padding=tuple(extra))
    return upstream.convert(replace(operation, node=replace(operation.node, attributes=attributes)))
