"""From a coded layer in the graph to what kernels take: its shape, and its weight as a matrix."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dcc.codegen.weight_matrix import WeightMatrix
from dcc.passes.operators.coded_layers import CodedLayer
from dcc.passes.operators.encoded_weights import apply_mask_reference
from dcc.passes.weight_table import WeightTable
from dcc.schedules.epilogue import Activation
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.recurrence import Recurrence


def weight_matrix(layer: CodedLayer, table: WeightTable) -> WeightMatrix:
    """Return the weight of a layer, one row for each output."""
    arrays = [table.arrays[variable.name] for variable in layer.weight]
    grid = arrays[0].reshape(arrays[0].shape[0], -1)
    if layer.family == "codebook":
        return WeightMatrix.from_codes(grid, arrays[1])  # type: ignore[arg-type]
    if len(arrays) == 1:
        return WeightMatrix(values=grid)  # type: ignore[arg-type]
    mask = arrays[1].reshape(grid.shape).astype(np.bool_, copy=False)
    return WeightMatrix(values=apply_mask_reference(grid, mask), mask=mask)  # type: ignore[arg-type]


def shape_of(expression: Any) -> list[int]:
    """Return the static shape of a Relax expression."""
    return [int(size) for size in expression.ty.shape]


def dtype_of(expression: Any) -> str:
    """Return the element type of a Relax expression."""
    return str(expression.ty.dtype.dtype)


def layer_shape(layer: CodedLayer) -> LayerShape:
    """Describe what the layer's kernel computes, apart from the weight."""
    data, attributes = layer.data[0], layer.attributes
    shape = shape_of(data)
    if layer.kind == "take":
        dtype = dtype_of(layer.weight[1] if layer.family == "codebook" else layer.weight[0])
        return LayerShape("take", dtype, math.prod(shape), index_dtype=dtype_of(data))
    if layer.kind in ("lstm", "gru"):
        gates = 4 if layer.kind == "lstm" else 3
        sizes = Recurrence(shape[0], shape[1], shape[2] // gates, bool(attributes["reverse"]))
        names = ("input_forget", "linear_before_reset")
        flags = {str(name): bool(attributes[name]) for name in names if name in attributes}
        return LayerShape(layer.kind, recurrence=sizes, flags=flags)
    geometry = None if layer.kind == "matmul" else _geometry(layer, shape)
    samples = math.prod(shape[:-1]) if geometry is None else 1
    if geometry is not None and geometry.one_window:
        # One multiplication a weight: there are no pixels to share its reading.
        geometry, samples = None, shape[0]
    return LayerShape(
        "matmul" if geometry is None else layer.kind,
        dtype_of(data),
        samples=samples,
        geometry=geometry,
        scale=layer.scale is not None,
        bias=layer.bias is not None,
        activation=Activation(attributes.get("minimum"), attributes.get("maximum")),
    )


def _geometry(layer: CodedLayer, shape: list[int]) -> ConvGeometry:
    weight = shape_of(layer.weight[0])
    strides, padding, dilation = (
        [int(value) for value in layer.attributes[key]]
        for key in ("strides", "padding", "dilation")
    )
    if layer.kind == "conv1d":
        shape = [*shape[:2], 1, shape[2]]
        weight = [*weight[:2], 1, weight[2]]
        strides, dilation, padding = [1, *strides], [1, *dilation], [0, padding[0], 0, padding[1]]
    return ConvGeometry(
        batch=shape[0],
        channels=shape[1],
        height=shape[2],
        width=shape[3],
        outputs=weight[0],
        kernel=(weight[2], weight[3]),
        strides=(strides[0], strides[1]),
        pads=(padding[0], padding[1], padding[2], padding[3]),
        dilations=(dilation[0], dilation[1]),
        groups=int(layer.attributes["groups"]),
    )
