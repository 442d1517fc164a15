"""AveragePool with an exact divisor, and ConvTranspose with ``output_shape``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tvm import relax

from dcc.importer import upstream
from dcc.importer.converters.registry import converter
from dcc.importer.converters.windows import explicit_padding, window_attribute
from dcc.importer.operation import Operation, constant

_POOLS = {3: relax.op.nn.avg_pool1d, 4: relax.op.nn.avg_pool2d, 5: relax.op.nn.avg_pool3d}


@converter("AveragePool")
def average_pool(operation: Operation) -> relax.Expr:
    """Pool the zero-padded data, then correct the divisor where a window leaves the data.

    The divisor counts data elements, or with ``count_include_pad`` those of the explicit padding, too; the extra
    elements that ``ceil_mode`` reaches never count.
    """
    rank = operation.rank()
    if rank not in _POOLS:
        raise operation.error(f"expected 1 to 3 spatial dimensions, got a tensor of rank {rank}")
    kernel = list(operation.attribute("kernel_shape", ()))
    strides, dilations = (window_attribute(operation, n) for n in ("strides", "dilations"))
    pads = explicit_padding(operation, kernel)
    spatial = rank - 2
    begins, ends = pads[:spatial], pads[spatial:]
    counts, extra = [], []
    for axis in range(spatial):
        size = operation.shape()[2 + axis]
        window = (kernel[axis] - 1) * dilations[axis] + 1
        padded = begins[axis] + size + ends[axis]
        steps = (padded - window) / strides[axis]
        outputs = (
            int(np.ceil(steps) if operation.attribute("ceil_mode", 0) else np.floor(steps)) + 1
        )
        if (outputs - 1) * strides[axis] >= size + begins[axis]:
            outputs -= 1
        extra.append(max((outputs - 1) * strides[axis] + window - padded, 0))
        include = operation.attribute("count_include_pad", 0)
        first, last = (0, padded) if include else (begins[axis], begins[axis] + size)
        taps = (
            np.arange(outputs)[:, None] * strides[axis] + np.arange(kernel[axis]) * dilations[axis]
        )
        counts.append(((taps >= first) & (taps < last)).sum(axis=1))
        used = (outputs - 1) * strides[axis] + window
        extra[-1] = used - padded
    data = _padded(operation, begins, [e + x for e, x in zip(ends, extra, strict=True)])
    pooled = operation.emit(
        _POOLS[rank](data, pool_size=kernel, strides=strides, dilation=dilations)
    )
    divisor = counts[0]
    for count in counts[1:]:
        divisor = divisor[..., None] * count
    correction = np.prod(kernel) / np.maximum(divisor, 1)
    if np.all(correction == 1.0):
        return pooled
    return relax.op.multiply(pooled, constant(correction[None, None].astype(operation.dtype())))


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
