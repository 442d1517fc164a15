"""A coded layer as TVM's own operators over its dense weight.

The dense storage form of what those operators' schedules do well.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import relax

from dcc.passes.operators.coded_layers import CodedLayer


def ordinary_layer(layer: CodedLayer, weight: relax.Expr, shape: list[int]) -> relax.Expr:
    """Express the layer's result, of ``shape``.

    ``weight`` is (K, N) of a matmul, (O, I / groups, [KH,] KW) of a convolution.
    """
    x, attributes = layer.data[0], layer.attributes
    dtype = str(x.ty.dtype.dtype)
    # Sums of half precision lose digits: they are formed in single precision, and rounded once.
    sums = "float32" if dtype in ("float16", "bfloat16") else dtype
    if layer.kind == "matmul":
        flat = reshaped(x, [math.prod(shape[:-1]), int(weight.ty.shape[0])])
        result, trailing = relax.op.matmul(flat, weight, out_dtype=sums), 0
    else:
        convolution = relax.op.nn.conv1d if layer.kind == "conv1d" else relax.op.nn.conv2d
        result, trailing = (
            convolution(x, weight, out_dtype=sums, **_window(attributes)),
            len(shape) - 2,
        )
    result = _epilogue(layer, result, sums, trailing)
    if sums != dtype:
        result = relax.op.astype(result, dtype)
    flattened = layer.kind == "matmul" and len(shape) != 2
    return relax.op.reshape(result, shape) if flattened else result


def _window(attributes: dict[str, Any]) -> dict[str, Any]:
    names = ("strides", "padding", "dilation")
    window = {name: [int(value) for value in attributes[name]] for name in names}
    return {**window, "groups": int(attributes["groups"])}


def _epilogue(layer: CodedLayer, result: relax.Expr, dtype: str, trailing: int) -> relax.Expr:
    """Append scale, bias and activation; the channel has ``trailing`` axes behind it."""
    axes = [-1, *[1] * trailing]
    for operator, value in ((relax.op.multiply, layer.scale), (relax.op.add, layer.bias)):
        if value is not None:
            channels = relax.op.reshape(value, axes)
            if str(value.ty.dtype.dtype) != dtype:
                channels = relax.op.astype(channels, dtype)
            result = operator(result, channels)
    low, high = (layer.attributes.get(key) for key in ("minimum", "maximum"))
    if low == 0 and high is None:
        return relax.op.nn.relu(result)
    if low is not None:
        result = relax.op.maximum(result, relax.const(float(low), dtype))
    if high is not None:
        result = relax.op.minimum(result, relax.const(float(high), dtype))
    return result


def reshaped(value: relax.Expr, shape: list[int]) -> relax.Expr:
    """Reshape ``value``, which has a type; itself where it has that shape, to spare a copy."""
    same = [int(size) for size in value.ty.shape] == shape
    return value if same else relax.op.reshape(value, shape)
