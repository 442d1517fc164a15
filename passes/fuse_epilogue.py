"""Fold scale, bias and activation after a coded layer into the layer.

    y = dcc.codebook_conv2d(x, codes, codebook); z = relu(add(multiply(y, scale), bias))
        ->    z = dcc.codebook_conv2d(x, codes, codebook, scale, bias, minimum=0)

A batch norm, which the importer gives as multiply and add, ends up here and leaves the codebook as
it is. Only constants that vary along the layer's output channel fold, and only where the layer's
result has no other reader.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.passes.operators.coded_layers import CodedLayer, coded_layer
from dcc.passes.parameters import MAIN, constant
from dcc.passes.weight_views import BoundValues

LARGEST = float(np.finfo(np.float32).max)
BOUNDS: tuple[str, ...] = ("minimum", "maximum")
AFFINE = ("relax.add", "relax.multiply", "relax.subtract")


@tvm.transform.module_pass(opt_level=0, name="dcc.FuseEpilogue")
@dataclass(frozen=True)
class FuseEpilogue:
    """Fold per-channel arithmetic and clipping into the coded layer before it."""

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``."""
        rewriter = _Fuser(module)
        function = relax.analysis.remove_all_unused(rewriter.visit_expr(module[MAIN]))
        result = tvm.IRModule(dict(module.functions_items()), module.attrs)
        result.update_func(result.get_global_var(MAIN), function)
        return result


@mutator
class _Fuser(PyExprMutator):
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.uses = _use_counts(module[MAIN])

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        operand = _single(call)
        rewritten = super().visit_call_(call)
        if operand is None or self.uses.get(operand, 0) != 1:
            return rewritten
        new = rewritten.args[list(call.args).index(operand)]
        layer = coded_layer(self.lookup_binding(new)) if isinstance(new, relax.Var) else None
        if layer is None or layer.kind not in ("matmul", "conv1d", "conv2d"):
            return rewritten
        fused = _fused(layer, call, operand)
        return rewritten if fused is None else fused.call()


def _use_counts(function: relax.Function) -> dict[relax.Var, int]:
    counts: dict[relax.Var, int] = {}

    def visit(node: relax.Expr) -> None:
        parts: list[relax.Expr] = []
        if isinstance(node, relax.Call):
            parts = list(node.args)
        elif isinstance(node, relax.Tuple):
            parts = list(node.fields)
        elif isinstance(node, relax.TupleGetItem):
            parts = [node.tuple_value]
        elif isinstance(node, relax.SeqExpr):
            parts = [node.body]
        elif isinstance(node, relax.If):
            parts = [node.cond]
        for part in parts:
            if isinstance(part, relax.Var):
                counts[part] = counts.get(part, 0) + 1

    relax.analysis.post_order_visit(function, visit)
    _count_aliases(function, counts)
    return counts


def _count_aliases(function: relax.Function, counts: dict[relax.Var, int]) -> None:
    for value in BoundValues(function).values.values():
        if isinstance(value, relax.Var):
            counts[value] = counts.get(value, 0) + 1


def _single(call: relax.Call) -> relax.Var | None:
    """Return the operand that is no constant, of an operator that an epilogue may hold."""
    name = getattr(call.op, "name", "")
    if name in ("relax.nn.relu", "relax.clip"):
        return call.args[0] if isinstance(call.args[0], relax.Var) else None
    if name in (*AFFINE, "relax.maximum", "relax.minimum"):
        variables = [a for a in call.args if isinstance(a, relax.Var)]
        if len(variables) == 1 and isinstance(_constant(call), np.ndarray):
            ordered = name == "relax.subtract"
            return None if ordered and isinstance(call.args[0], GenericConst) else variables[0]
    return None


def _constant(call: relax.Call) -> npt.NDArray[np.floating] | None:
    for argument in call.args:
        if isinstance(argument, GenericConst):
            return np.asarray(argument.value.numpy())
    return None


def _fused(layer: CodedLayer, call: relax.Call, operand: relax.Var) -> CodedLayer | None:
    """``layer`` with ``call`` in its epilogue; None where that is not the same function."""
    name = getattr(call.op, "name", "")
    bounds = {key: float(layer.attributes[key]) for key in BOUNDS if key in layer.attributes}
    if name == "relax.nn.relu":
        return _bounded(layer, bounds, 0.0, None)
    if name == "relax.clip":
        low, high = (float(_scalar(argument)) for argument in call.args[1:])
        return _bounded(layer, bounds, low, high)
    operand_value = _constant(call)
    if name not in AFFINE and operand_value is not None:
        return _bounded_by(layer, bounds, call, operand, operand_value)
    if bounds or operand_value is None:
        return None
    channel = _per_channel(operand_value, layer, operand, call)
    if channel is None:
        return None
    scale, bias = _value(layer.scale), _value(layer.bias)
    if name == "relax.multiply":
        scale = channel if scale is None else scale * channel
        bias = None if bias is None else bias * channel
    else:
        shift = channel if name == "relax.add" else -channel
        bias = shift if bias is None else bias + shift
    return replace(layer, scale=_expression(scale), bias=_expression(bias))


def _bounded_by(
    layer: CodedLayer,
    bounds: dict[str, float],
    call: relax.Call,
    operand: relax.Var,
    value: npt.NDArray[np.floating],
) -> CodedLayer | None:
    """Clip by the one number of a maximum or minimum, if it is one and no NaN."""
    same = list(call.ty.shape) == list(operand.ty.shape) and call.ty.dtype == operand.ty.dtype
    if value.size != 1 or not same or np.isnan(value).any():
        return None
    bound = float(value.reshape(-1)[0])
    if call.op.name == "relax.maximum":
        return _bounded(layer, bounds, bound, None)
    return _bounded(layer, bounds, -np.inf, bound)


def _bounded(
    layer: CodedLayer, bounds: dict[str, float], low: float, high: float | None
) -> CodedLayer:
    """Clip the layer's result further; the later bounds win where the two ranges do not meet."""
    new = dict(bounds)
    if low > -LARGEST:
        new["minimum"] = max(low, bounds.get("minimum", low))
        if "maximum" in new:
            new["maximum"] = max(new["maximum"], low)
    if high is not None and high < LARGEST:
        new["maximum"] = min(high, new.get("maximum", high))
        if "minimum" in new:
            new["minimum"] = min(new["minimum"], high)
    return replace(layer, attributes={**layer.attributes, **new})


def _scalar(expression: relax.Expr) -> float:
    return float(getattr(expression, "value", expression))


def _per_channel(
    value: npt.NDArray[np.floating], layer: CodedLayer, operand: relax.Var, call: relax.Call
) -> npt.NDArray[np.floating] | None:
    """Give one value a channel; None where it varies along another axis or widens the result."""
    shape = [int(size) for size in operand.ty.shape]
    if [int(size) for size in call.ty.shape] != shape or call.ty.dtype != operand.ty.dtype:
        return None
    axis = len(shape) - 1 if layer.kind == "matmul" else 1
    padded = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if any(size != 1 for place, size in enumerate(padded.shape) if place != axis):
        return None
    return np.ascontiguousarray(np.broadcast_to(padded.reshape(-1), (shape[axis],)))


def _value(expression: relax.Expr | None) -> npt.NDArray[np.floating] | None:
    return None if expression is None else np.asarray(expression.value.numpy())


def _expression(value: npt.NDArray[np.floating] | None) -> relax.Expr | None:
    return None if value is None else constant(value)
