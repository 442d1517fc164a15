"""What the layers compute, in numpy's integers: the oracle for streams and models.

Tensors are ``int8`` of shape (batch, channels, height, width); channels are not padded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.schedules.vta.layers import ConvLayer, PoolLayer, Requantise, SumLayer
from dcc.targets.vta.matrix_unit import exact_product

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]


def wrapped(values: npt.NDArray[np.int64]) -> Int32:
    """Keep the low 32 bits, as accumulators do."""
    return values.astype(np.int32)


def shifted(values: Int32, shift: int) -> Int32:
    """Shift right, flooring, or left where ``shift`` is negative."""
    wide = values.astype(np.int64)
    return wrapped(wide >> shift if shift >= 0 else wide << -shift)


def requantised(accumulators: Int32, requantise: Requantise) -> Int8:
    """Round, shift and clip accumulators to int8; long shifts in two, rounding in the second."""
    first, last = requantise.split
    sums = shifted(accumulators, first)
    rounded = wrapped(sums.astype(np.int64) + last.rounding)
    clipped = np.clip(shifted(rounded, last.shift), requantise.low, requantise.high)
    return clipped.astype(np.int8)


def convolved(x: Int8, weight: Int8, layer: ConvLayer) -> Int32:
    """Accumulators of a convolution, int32 wrapping.

    Parameters
    ----------
    weight
        Shape (outputs, channels, kernel rows, kernel columns).
    """
    top, left, bottom, right = layer.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).astype(np.float32)
    height, width = layer.out_height, layer.out_width
    total = np.zeros((layer.outputs, layer.batch * height * width), dtype=np.int64)
    for row in range(layer.kernel[0]):
        for column in range(layer.kernel[1]):
            y, x0 = row * layer.dilations[0], column * layer.dilations[1]
            window = padded[
                :,
                :,
                y : y + (height - 1) * layer.strides[0] + 1 : layer.strides[0],
                x0 : x0 + (width - 1) * layer.strides[1] + 1 : layer.strides[1],
            ]
            flat = np.ascontiguousarray(window.transpose(1, 0, 2, 3)).reshape(layer.channels, -1)
            total += exact_product(weight[:, :, row, column].astype(np.float32), flat)
    grid = total.reshape(layer.outputs, layer.batch, height, width)
    return wrapped(np.ascontiguousarray(grid.transpose(1, 0, 2, 3)))


def conv_reference(
    x: Int8,
    weight: Int8,
    layer: ConvLayer,
    bias: Int32 | None = None,
    residual: Int8 | None = None,
) -> Int8:
    """Convolution, bias, residual sum and requantisation."""
    sums = convolved(x, weight, layer)
    if bias is not None:
        sums = wrapped(sums.astype(np.int64) + bias[None, :, None, None])
    if residual is not None and layer.residual is not None:
        sums = shifted(sums, layer.residual.shift)
        lifted = residual.astype(np.int64) << layer.residual.lift
        sums = wrapped(sums.astype(np.int64) + lifted)
    return requantised(sums, layer.requantise)


def pool_reference(x: Int8, layer: PoolLayer) -> Int8:
    """Max-pooling."""
    height, width = layer.out_height, layer.out_width
    result = np.full((*x.shape[:2], height, width), -128, dtype=np.int8)
    for row in range(layer.kernel[0]):
        for column in range(layer.kernel[1]):
            y = np.arange(height) * layer.strides[0] + row * layer.dilations[0] - layer.pads[0]
            c = np.arange(width) * layer.strides[1] + column * layer.dilations[1] - layer.pads[1]
            rows = np.flatnonzero((y >= 0) & (y < layer.height))
            columns = np.flatnonzero((c >= 0) & (c < layer.width))
            there = np.ix_(np.arange(x.shape[0]), np.arange(x.shape[1]), rows, columns)
            taken = x[:, :, y[rows][:, None], c[columns]]
            result[there] = np.maximum(result[there], taken)
    return result


def sum_reference(operands: list[Int8], layer: SumLayer) -> Int8:
    """Sum of the lifted operands, requantised."""
    total = np.zeros(operands[0].shape, dtype=np.int64)
    for operand, lift in zip(operands, layer.lifts, strict=True):
        total += operand.astype(np.int64) << lift
    return requantised(wrapped(total), layer.requantise)
