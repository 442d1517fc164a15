"""Coded layers as the convolutions that the accelerator runs."""

from __future__ import annotations

import math

from tvm import relax

from dcc.passes.layer_shapes import dtype_of, shape_of
from dcc.passes.offload.graph import Graph, name_of
from dcc.passes.operators.coded_layers import CodedLayer
from dcc.schedules.vta.layers import ConvLayer
from dcc.targets.vta.device import Limits


def conv_layer(
    layer: CodedLayer, graph: Graph, limits: Limits
) -> tuple[ConvLayer, relax.Var, list[relax.Var]] | str:
    """Describe a coded layer as a convolution.

    Returns
    -------
    tuple or str
        Shape, data, and variables that the layer reads past; or why it cannot be one.
    """
    if layer.kind not in ("matmul", "conv1d", "conv2d"):
        return f"the accelerator has no {layer.kind}"
    data = layer.data[0]
    if not isinstance(data, relax.Var):
        return "its data are constant"
    if dtype_of(data) != "float32":
        return f"its data are {dtype_of(data)}, not float32"
    weight, shape = shape_of(layer.weight[0]), shape_of(data)
    bias = layer.bias is not None
    if layer.kind == "matmul":
        window = _flattened(data, graph)
        if window is not None:
            source, (channels, height, width) = window
            size = (height, width)
            # The reshape itself goes where nothing else reads it.
            gone = [data] if graph.only_reader(data) is not None else []
            return ConvLayer(1, channels, height, width, weight[0], size, bias=bias), source, gone
        rows = math.prod(shape[:-1])
        return ConvLayer(1, weight[1], 1, rows, weight[0], bias=bias), data, []
    if int(layer.attributes["groups"]) != 1:
        return "it has groups (the accelerator multiplies all channels with each other)"
    strides, pads, dilations = (
        [int(value) for value in layer.attributes[key]]
        for key in ("strides", "padding", "dilation")
    )
    if layer.kind == "conv1d":
        strides, dilations, pads = [1, *strides], [1, *dilations], [0, pads[0], 0, pads[1]]
        weight, shape = [*weight[:2], 1, weight[2]], [*shape[:2], 1, shape[2]]
    if max(pads) > limits.pad:
        return f"padding of {max(pads)} exceeds the {limits.pad} of a load"
    return (
        ConvLayer(
            shape[0],
            shape[1],
            shape[2],
            shape[3],
            weight[0],
            (weight[2], weight[3]),
            (strides[0], strides[1]),
            (pads[0], pads[1], pads[2], pads[3]),
            (dilations[0], dilations[1]),
            bias,
        ),
        data,
        [],
    )


def _flattened(data: relax.Var, graph: Graph) -> tuple[relax.Var, tuple[int, int, int]] | None:
    """Image that ``data``, a matrix of one row, is made of by a reshape alone."""
    value = graph.values.get(data)
    if (
        value is None
        or name_of(value) != "relax.reshape"
        or not isinstance(value.args[0], relax.Var)
    ):
        return None
    source = value.args[0]
    shape = shape_of(source)
    if len(shape) != 4 or shape[0] != 1 or len(shape_of(data)) != 2 or shape_of(data)[0] != 1:
        return None
    return source, (shape[1], shape[2], shape[3])
