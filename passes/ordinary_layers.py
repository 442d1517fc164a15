"""A coded layer as TVM's own operators over its dense weight.

The dense storage form of what those operators' schedules do well.
"""

from __future__ import annotations

import math

from tvm import relax

from dcc.passes.operators.coded_layers import CodedLayer


def ordinary_layer(layer: CodedLayer, weight: relax.Expr, shape: list[int]) -> relax.Expr:
    """Express the layer's result, of ``shape``.

    ``weight`` is (K, N) of a matmul, (O, I / groups, [KH,] KW) of a convolution.
    """
    x, attributes = layer.data[0], layer.attributes
    if layer.kind == "matmul":
        columns = int(weight.ty.shape[0])
        flat = relax.op.reshape(x, [math.prod(shape[:-1]), columns])
        return relax.op.reshape(_epilogue(layer, relax.op.matmul(flat, weight), -1), shape)
    convolution = relax.op.nn.conv1d if layer.kind == "conv1d" else relax.op.nn.conv2d
    result = convolution(
        x,
        weight,
        strides=[int(value) for value in attributes["strides"]],
        padding=[int(value) for value in attributes["padding"]],
        dilation=[int(value) for value in attributes["dilation"]],
        groups=int(attributes["groups"]),
    )
    return _epilogue(layer, result, len(shape) - 2)


def _epilogue(layer: CodedLayer, result: relax.Expr, trailing: int) -> relax.Expr:
    """Append scale, bias and activation; the channel has ``trailing`` axes behind it.

    -1: the channel is the last axis.
    """
    axes = [-1, *[1] * max(trailing, 0)]
    for operator, value in ((relax.op.multiply, layer.scale), (relax.op.add, layer.bias)):
        if value is not None:
            result = operator(result, relax.op.reshape(value, axes))
    low, high = (layer.attributes.get(key) for key in ("minimum", "maximum"))
    if low == 0 and high is None:
        return relax.op.nn.relu(result)
    dtype = str(layer.data[0].ty.dtype.dtype)
    if low is not None:
        result = relax.op.maximum(result, relax.const(float(low), dtype))
    if high is not None:
        result = relax.op.minimum(result, relax.const(float(high), dtype))
    return result
