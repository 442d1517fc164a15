"""Following a weight back from the layer that reads it to its parameters.

    matmul(x, permute_dims(reshape(lookup(codes, codebook))))

The way leads through operators that only move elements. The moves are replayed on the codes (or on
the values and the mask) when the layer is rewritten, so that they cost nothing at run time and the
codebook stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from tvm import relax
from tvm.ir import GenericConst

Array = npt.NDArray[np.generic]
Move = Callable[[Array], Array]


@dataclass(frozen=True)
class WeightView:
    """A weight as a layer reads it.

    Attributes
    ----------
    parameters
        (codes, codebook), (values, mask) or (values,).
    coded
        Whether the parameters are codes and codebook.
    moves
        Applied in order to the codes, or to the values and the mask.
    dtype
        Type that the codebook or the values are cast to; None where they keep theirs.
    """

    parameters: tuple[relax.Var, ...]
    coded: bool
    moves: tuple[Move, ...] = ()
    dtype: str | None = None

    def apply(self, array: Array) -> Array:
        """Replay the moves on one of the arrays of the weight's shape."""
        for move in self.moves:
            array = move(array)
        return np.ascontiguousarray(array)


class BoundValues:
    """What each variable of a function is bound to."""

    def __init__(self, function: relax.Function) -> None:
        self.values: dict[relax.Var, relax.Expr] = {}

        def visit(node: relax.Expr) -> None:
            if isinstance(node, relax.SeqExpr):
                for block in node.blocks:
                    for binding in block.bindings:
                        if isinstance(binding, relax.VarBinding | relax.MatchCast):
                            self.values[binding.var] = binding.value

        relax.analysis.post_order_visit(function, visit)

    def of(self, expression: relax.Expr) -> relax.Expr:
        """Return the expression behind a variable; the variable itself where it is a parameter."""
        while isinstance(expression, relax.Var) and expression in self.values:
            expression = self.values[expression]
        return expression


def find_weight(
    expression: relax.Expr, bound: BoundValues, weights: frozenset[str]
) -> WeightView | None:
    """Find the weight that ``expression`` is a view of.

    Parameters
    ----------
    expression
        Operand of a layer.
    bound
        Of the function around it.
    weights
        Names of the parameters that hold weights.

    Returns
    -------
    WeightView or None
        None where it is no weight, or is changed on the way.
    """
    expression = bound.of(expression)
    if isinstance(expression, relax.Var):
        return WeightView((expression,), coded=False) if expression.name in weights else None
    if isinstance(expression, relax.TupleGetItem):
        return _piece(expression, bound, weights)
    if not isinstance(expression, relax.Call):
        return None
    name = getattr(expression.op, "name", "")
    if name in ("relax.dcc.lookup", "relax.dcc.apply_mask"):
        first, second = (bound.of(argument) for argument in expression.args)
        if isinstance(first, relax.Var) and isinstance(second, relax.Var):
            return WeightView((first, second), coded=name == "relax.dcc.lookup")
        return None
    dtype = _cast(name, expression)
    move = _move(name, expression)
    if move is None and dtype is None:
        return None
    inner = find_weight(expression.args[0], bound, weights)
    if inner is None:
        return None
    if move is None:
        return replace(inner, dtype=dtype)
    return replace(inner, moves=(*inner.moves, move))


def parameters_behind(
    expression: relax.Expr, bound: BoundValues, parameters: Container[str]
) -> frozenset[str] | None:
    """Names of all ``parameters`` that ``expression`` is computed from, in any way.

    None where it is computed from something else, too: then it is data.
    """
    expression = bound.of(expression)
    if isinstance(expression, GenericConst):
        return frozenset()
    if isinstance(expression, relax.Var):
        return frozenset({expression.name}) if expression.name in parameters else None
    if isinstance(expression, relax.TupleGetItem):
        return parameters_behind(expression.tuple_value, bound, parameters)
    if not isinstance(expression, relax.Call | relax.Tuple):
        return None
    parts = expression.args if isinstance(expression, relax.Call) else expression.fields
    names: frozenset[str] = frozenset()
    for part in parts:
        if isinstance(part, relax.Var | relax.Call | relax.Tuple | relax.TupleGetItem):
            behind = parameters_behind(part, bound, parameters)
            if behind is None:
                return None
            names |= behind
    return names


def _piece(
    item: relax.TupleGetItem, bound: BoundValues, weights: frozenset[str]
) -> WeightView | None:
    """Find the weight that a part of a split is a view of."""
    split = bound.of(item.tuple_value)
    if getattr(getattr(split, "op", None), "name", "") != "relax.split":
        return None
    inner = find_weight(split.args[0], bound, weights)
    if inner is None:
        return None
    sections, axis, index = split.attrs.indices_or_sections, int(split.attrs.axis), item.index
    borders = [int(s) for s in sections] if hasattr(sections, "__len__") else int(sections)
    moves = (*inner.moves, lambda array: np.split(array, borders, axis)[index])
    return replace(inner, moves=moves)


def _cast(name: str, call: relax.Call) -> str | None:
    """Type that an operator casts a weight to; None where it is no cast between floats."""
    if name != "relax.astype":
        return None
    source, dtype = (str(part.ty.dtype.dtype) for part in (call.args[0], call))
    return dtype if "float" in source and "float" in dtype else None


def _move(name: str, call: relax.Call) -> Move | None:
    """How an operator moves elements, on numpy arrays; None where it does more than move."""
    shape = _static_shape(call)
    if shape is None:
        return None
    if name in ("relax.reshape", "relax.flatten", "relax.squeeze", "relax.expand_dims"):
        return lambda array: array.reshape(shape)
    if name == "relax.permute_dims":
        axes = call.attrs.axes
        order = None if axes is None else [int(axis) for axis in axes]
        return lambda array: array.transpose(order)
    if name == "relax.strided_slice":
        return _slice(call)
    return None


def _static_shape(call: relax.Call) -> tuple[int, ...] | None:
    shape = getattr(call.ty, "shape", None)
    try:
        return None if shape is None else tuple(int(size) for size in shape)
    except TypeError:
        return None


def _slice(call: relax.Call) -> Move | None:
    """Replay a strided slice; None where a bound is not constant."""
    try:
        parts = [[int(item) for item in argument.fields] for argument in call.args[1:]]
    except (AttributeError, TypeError):
        return None
    axes, begin, end = parts[:3]
    steps = parts[3] if len(parts) > 3 else [1] * len(axes)

    def move(array: Array) -> Array:
        spans: list[slice] = [slice(None)] * array.ndim
        for axis, first, last, step in zip(axes, begin, end, steps, strict=True):
            # A slice that steps back to the first element ends before it: None in numpy.
            stop = None if step < 0 and last < -array.shape[axis] else last
            spans[axis] = slice(first, stop, step)
        return array[tuple(spans)]

    expected = _static_shape(call)
    source = call.args[0].ty.shape
    probe = move(np.empty([int(size) for size in source], dtype=np.bool_))
    return move if probe.shape == expected else None
