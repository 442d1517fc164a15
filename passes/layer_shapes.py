"""From a coded layer in the graph to what the kernels take: its shape, and its weight as a matrix."""

from __future__ import annotations

import math
from typing import Any

from dcc.codegen.weight_matrix import WeightMatrix
from dcc.passes.operators.coded_layers import CodedLayer
from dcc.passes.weight_table import WeightTable
from dcc.schedules.cpu.epilogue import Activation
from dcc.schedules.cpu.geometry import ConvGeometry
from dcc.schedules.cpu.recurrent import Recurrence
from dcc.schedules.kernels import LayerShape


def weight_matrix(layer: CodedLayer, table: WeightTable) -> WeightMatrix:
    """The weight of a layer, one row for each output."""
    arrays = [table.arrays[variable.name] for variable in layer.weight]
    grid = arrays[0].reshape(arrays[0].shape[0], -1)
    if layer.family == "codebook":
        return WeightMatrix.from_codes(grid, arrays[1])  # type: ignore[arg-type]
    mask = arrays[1].reshape(grid.shape) if len(arrays) == 2 else None
    if mask is not None:
        grid = grid * mask
    return WeightMatrix(values=grid, mask=mask)  # type: ignore[arg-type]


def shape_of(expression: Any) -> list[int]:
    """Static shape of a Relax expression."""
    return [int(size) for size in expression.ty.shape]


def dtype_of(expression: Any) -> str:
    """Element type of a Relax expression."""
    return str(expression.ty.dtype.dtype)


def layer_shape(layer: CodedLayer) -> LayerShape:
    """What the layer's kernel computes, apart from the weight."""
    data, attributes = layer.data[0], layer.attributes
    shape = shape_of(data)
    if layer.kind == "take":
        dtype = dtype_of(layer.weight[1] if layer.family == "codebook" else layer.weight[0])
        return LayerShape("take", dtype, math.prod(shape), index_dtype=dtype_of(data))
    common = {
        "dtype": dtype_of(data),
        "scale": layer.scale is not None,
        "bias": layer.bias is not None,
        "activation": Activation(attributes.get("minimum"), attributes.get("maximum")),
    }
    if layer.kind == "matmul":
        return LayerShape("matmul", samples=math.prod(shape[:-1]), **common)
    if layer.kind in ("lstm", "gru"):
        gates = 4 if layer.kind == "lstm" else 3
        sizes = Recurrence(shape[0], shape[1], shape[2] // gates, bool(attributes["reverse"]))
        flags = {
            key: bool(attributes[key])
            for key in ("input_forget", "linear_before_reset")
            if key in attributes
        }
        return LayerShape(layer.kind, recurrence=sizes, flags=flags)
    return LayerShape(layer.kind, geometry=_geometry(layer, shape), **common)


def _geometry(layer: CodedLayer, shape: list[int]) -> ConvGeometry:
    weight = shape_of(layer.weight[0])
    strides, padding, dilation = (
        [int(value) for value in layer.attributes[key]] for key in ("strides", "padding", "dilation")
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
