"""Products with a dense weight: TVM's expressions, scheduled by its DLight rules."""

from __future__ import annotations

from tvm import te
from tvm import tirx as tir

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cuda.default import apply_rules
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Target


def dense_matmul(
    shape: LayerShape, packed: PackedWeight, accumulator: str, target: Target
) -> tir.PrimFunc:
    """Kernel of a matmul over the values of ``packed`` (of one lane).

    Parameters of the kernel: x, the values (rows, columns, 1), scale and bias, y.
    """
    values = packed.arrays["values"]
    weight = te.placeholder(values.shape, values.dtype.name, "values")
    x = te.placeholder((shape.samples, packed.columns), shape.dtype, "x")
    sums = _product(x, weight, accumulator)
    factors = {
        name: te.placeholder((packed.rows,), shape.dtype, name)
        for name, present in (("scale", shape.scale), ("bias", shape.bias))
        if present
    }

    def finish(*at: tir.Expr) -> tir.Expr:
        total = sums[at]
        if "scale" in factors:
            total = total * tir.Cast(accumulator, factors["scale"][at[1]])
        if "bias" in factors:
            total = total + tir.Cast(accumulator, factors["bias"][at[1]])
        for bound, less in ((shape.activation.minimum, True), (shape.activation.maximum, False)):
            if bound is not None:
                limit = tir.const(bound, accumulator)
                total = tir.Select(total < limit if less else total > limit, limit, total)
        return tir.Cast(shape.dtype, total)

    y = te.compute(sums.shape, finish, "y")
    function = te.create_prim_func([x, weight, *factors.values(), y])
    return apply_rules(function, target, "matmul_dense")


def _product(x: te.Tensor, weight: te.Tensor, accumulator: str) -> te.Tensor:
    k = te.reduce_axis((0, x.shape[1]), "k")
    return te.compute(
        (x.shape[0], weight.shape[0]),
        lambda m, n: te.sum(
            tir.Cast(accumulator, x[m, k]) * tir.Cast(accumulator, weight[n, k, 0]), axis=k
        ),
        "sums",
    )
