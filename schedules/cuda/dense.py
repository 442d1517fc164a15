"""Layers whose weight is dense: TVM's expressions, scheduled by its DLight rules."""

from __future__ import annotations

import tvm
from tvm import te
from tvm import tirx as tir

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.geometry import ConvGeometry
from dcc.schedules.cuda.default import apply_rules
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Target


def dense_layer(
    shape: LayerShape, packed: PackedWeight, accumulator: str, target: Target
) -> tir.PrimFunc:
    """Kernel of a matmul or a convolution over the values of ``packed`` (of one lane).

    Parameters of the kernel: x, the values (rows, columns, 1), scale and bias, y.
    """
    values = packed.arrays["values"]
    weight = te.placeholder(values.shape, values.dtype.name, "values")
    if shape.geometry is None:
        x = te.placeholder((shape.samples, packed.columns), shape.dtype, "x")
        sums, axis = _product(x, weight, accumulator), 1
    else:
        g, spatial = shape.geometry, 1 if shape.kind == "conv1d" else 2
        inner = (g.height, g.width) if spatial == 2 else (g.width,)
        x = te.placeholder((g.batch, g.channels, *inner), shape.dtype, "x")
        sums, axis = _convolution(x, weight, g, accumulator, spatial), 1
    factors = {
        name: te.placeholder((packed.rows,), shape.dtype, name)
        for name, present in (("scale", shape.scale), ("bias", shape.bias))
        if present
    }

    def finish(*at: tir.Expr) -> tir.Expr:
        total = sums[at]
        if "scale" in factors:
            total = total * tir.Cast(accumulator, factors["scale"][at[axis]])
        if "bias" in factors:
            total = total + tir.Cast(accumulator, factors["bias"][at[axis]])
        for bound, less in ((shape.activation.minimum, True), (shape.activation.maximum, False)):
            if bound is not None:
                limit = tir.const(bound, accumulator)
                total = tir.Select(total < limit if less else total > limit, limit, total)
        return tir.Cast(shape.dtype, total)

    y = te.compute(sums.shape, finish, "y")
    function = te.create_prim_func([x, weight, *factors.values(), y])
    return apply_rules(function, target)


def _product(x: te.Tensor, weight: te.Tensor, accumulator: str) -> te.Tensor:
    k = te.reduce_axis((0, x.shape[1]), "k")
    return te.compute(
        (x.shape[0], weight.shape[0]),
        lambda m, n: te.sum(
            tir.Cast(accumulator, x[m, k]) * tir.Cast(accumulator, weight[n, k, 0]), axis=k
        ),
        "sums",
    )


def _convolution(
    x: te.Tensor, weight: te.Tensor, g: ConvGeometry, accumulator: str, spatial: int
) -> te.Tensor:
    c = te.reduce_axis((0, g.channels // g.groups), "c")
    down = te.reduce_axis((0, g.kernel[0]), "down")
    across = te.reduce_axis((0, g.kernel[1]), "across")
    zero = tir.const(0, accumulator)
    channels, outputs = g.channels // g.groups, g.outputs // g.groups

    def term(n: tir.Expr, o: tir.Expr, h: tir.Expr, w: tir.Expr) -> tir.Expr:
        row = h * g.strides[0] + down * g.dilations[0] - g.pads[0]
        column = w * g.strides[1] + across * g.dilations[1] - g.pads[1]
        channel = tir.floordiv(o, outputs) * channels + c if g.groups > 1 else c
        at = (n, channel, row, column) if spatial == 2 else (n, channel, column)
        inside = tir.all(row >= 0, row < g.height, column >= 0, column < g.width)
        value = tir.Cast(accumulator, x[at])
        place = (c * g.kernel[0] + down) * g.kernel[1] + across
        product = value * tir.Cast(accumulator, weight[o, place, 0])
        if any(g.pads):
            product = tir.if_then_else(inside, product, zero)
        return te.sum(product, axis=[c, down, across])

    if spatial == 2:
        return te.compute((g.batch, g.outputs, g.out_height, g.out_width), term, "sums")
    return te.compute(
        (g.batch, g.outputs, g.out_width),
        lambda n, o, w: term(n, o, tir.const(0, "int32"), w),
        "sums",
    )
