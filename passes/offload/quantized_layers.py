"""Weights, biases and shifts of offloaded layers in integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.coded_weights import Levels
from dcc.passes.layer_shapes import weight_matrix
from dcc.passes.offload.exponents import best_exponent
from dcc.passes.offload.placement import Placed
from dcc.passes.operators.coded_layers import CodedLayer
from dcc.passes.weight_table import WeightTable
from dcc.schedules.vta.layers import ConvLayer, Requantise, Residual, SumLayer
from dcc.schedules.vta.operations import ConvWeights, bias_in_blocks
from dcc.targets.vta.device import VTA

MOST_LIFT = 6
_MOST_SHIFT = 2 * VTA.limits.shift
_MOST_BIAS = 1 << 30


def bounds_in_integers(bounds: tuple[float | None, float | None], exponent: int) -> tuple[int, int]:
    """Clip bounds of the result in units of ``2**-exponent``, within int8."""
    low, high = bounds
    least = -128 if low is None else int(np.clip(np.rint(np.ldexp(low, exponent)), -128, 127))
    most = 127 if high is None else int(np.clip(np.rint(np.ldexp(high, exponent)), -128, 127))
    return least, max(most, least)


def quantized_convolution(
    placed: Placed, table: WeightTable, data: int, result: int, residual: int | None
) -> tuple[ConvLayer, ConvWeights] | str:
    """Bring a convolution to integers.

    Parameters
    ----------
    data, result, residual
        Exponents of the tensors.

    Returns
    -------
    tuple or str
        The layer and its weights; or why the shifts it needs do not exist.
    """
    assert placed.coded is not None
    assert isinstance(placed.layer, ConvLayer)
    levels, exponent = quantized_levels(placed.coded, placed.layer, table)
    sums = data + exponent
    rest: Residual | None = None
    if residual is not None:
        lift = int(np.clip(sums - residual, 0, MOST_LIFT))
        rest = Residual(sums - residual - lift, lift)
        if abs(rest.shift) > VTA.limits.shift:
            return f"its sums would be shifted by {rest.shift} bits before the residual"
        sums = residual + lift
    if abs(sums - result) > _MOST_SHIFT:
        return f"its sums would be shifted by {sums - result} bits"
    low, high = bounds_in_integers(placed.bounds, result)
    layer = replace(placed.layer, requantise=Requantise(sums - result, low, high), residual=rest)
    bias = None
    if placed.coded.bias is not None:
        values = placed.coded.bias.value.numpy().astype(np.float64)
        scaled = np.rint(np.ldexp(values, data + exponent))
        bias = np.clip(scaled, -_MOST_BIAS, _MOST_BIAS).astype(np.int32)
    layer = replace(layer, bias_blocks=bias_in_blocks(layer, bias))
    return layer, ConvWeights(levels, bias)


def quantized_levels(coded: CodedLayer, layer: ConvLayer, table: WeightTable) -> tuple[Levels, int]:
    """Quantise a weight and give its exponent.

    A codebook stays one, with a table for each channel where a scale is folded into it.
    """
    matrix = weight_matrix(coded, table)
    shape = (layer.outputs, layer.channels, *layer.kernel)
    scale = np.ones(1)
    if coded.scale is not None:
        scale = coded.scale.value.numpy().astype(np.float64)
    if matrix.codes is not None and matrix.codebook is not None:
        tables = matrix.codebook.astype(np.float64)[None, :] * scale[:, None]
        rows = np.arange(layer.outputs)[:, None] if len(scale) > 1 else 0
        values = tables[rows, matrix.codes.reshape(layer.outputs, -1)]
        exponent = best_exponent(values)
        return Levels(
            matrix.codes.reshape(shape).astype(np.uint8), _int8(tables, exponent)
        ), exponent
    values = matrix.decode().astype(np.float64).reshape(layer.outputs, -1) * scale[:, None]
    exponent = best_exponent(values)
    return Levels.of(_int8(values, exponent).reshape(shape)), exponent


def _int8(values: npt.NDArray[np.float64], exponent: int) -> npt.NDArray[np.int8]:
    return np.clip(np.rint(np.ldexp(values, exponent)), -128, 127).astype(np.int8)


def quantized_sum(
    placed: Placed, elements: int, operands: list[int], result: int
) -> SumLayer | str:
    """Bring a sum to integers; says why where the scales lie too far apart."""
    common = max(operands)
    lifts = tuple(common - exponent for exponent in operands)
    if max(lifts) > MOST_LIFT:
        return f"its operands' scales lie {max(lifts)} bits apart"
    room = MOST_LIFT - max(lifts)
    lifts = tuple(lift + room for lift in lifts)
    low, high = bounds_in_integers(placed.bounds, result)
    return SumLayer(elements, lifts, Requantise(common + room - result, low, high))
