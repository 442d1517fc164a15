"""Arrays over loop counters: how often a statement runs where extents and conditions vary.

An array has one axis for each loop that it depends on. The product of all extents and conditions of
a statement, summed over all axes, is the number of its executions; factors that share no axis are
summed apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.schedules.work.terms import Term

MOST_ELEMENTS = 1 << 22
"""Of one array; what would be larger is taken for unknown."""
Values = npt.NDArray[Any]
_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": lambda a, b: a // np.where(b == 0, 1, b),
    "mod": lambda a, b: a % np.where(b == 0, 1, b),
    "min": np.minimum,
    "max": np.maximum,
    "shl": np.left_shift,
    "shr": np.right_shift,
    "bits": np.bitwise_and,
    "or_bits": np.bitwise_or,
    "xor_bits": np.bitwise_xor,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "and": np.logical_and,
    "or": np.logical_or,
}


@dataclass(frozen=True, eq=False)
class LoopArray:
    """Values over the counters of ``loops`` (ascending), an axis each."""

    loops: tuple[int, ...]
    values: Values

    def over(self, loops: Sequence[int]) -> Values:
        """View with an axis for each of ``loops``, of length 1 where it does not depend on it."""
        shape = [
            self.values.shape[self.loops.index(loop)] if loop in self.loops else 1 for loop in loops
        ]
        return self.values.reshape(shape)


def joined(arrays: Iterable[LoopArray]) -> tuple[tuple[int, ...], list[Values], int]:
    """Give arrays the same axes: the loops, the arrays, and the size of their product."""
    arrays = list(arrays)
    loops = tuple(sorted({loop for array in arrays for loop in array.loops}))
    views = [array.over(loops) for array in arrays]
    size = 1
    for axis in range(len(loops)):
        size *= max(view.shape[axis] for view in views)
    return loops, views, size


def _choice(condition: Values, one: Values, other: Values) -> Values:
    chosen: Values = np.where(condition, one, other)
    return chosen


@dataclass
class Evaluator:
    """Evaluates terms over all passes of the loops that they depend on.

    Attributes
    ----------
    lengths
        Most passes of each loop.
    data
        Contents of the buffers that are known.
    """

    lengths: Mapping[int, int]
    data: Mapping[int, Values]

    def evaluate(self, term: Term) -> LoopArray | None:
        """Values of ``term``; None where they are not known or too many."""
        if isinstance(term, int):
            return LoopArray((), np.asarray(term, np.int64))
        kind = term[0]
        if kind == "loop":
            length = self.lengths[term[1]]
            return None if length > MOST_ELEMENTS else LoopArray((term[1],), np.arange(length))
        if kind == "load":
            return self._load(term[1], term[2])
        if kind == "not":
            inner = self.evaluate(term[1])
            return None if inner is None else LoopArray(inner.loops, np.logical_not(inner.values))
        if kind == "if":
            return self._combined(term[1:], _choice)
        if kind in _OPERATIONS:
            return self._combined(term[1:], _OPERATIONS[kind])
        return None

    def _load(self, buffer: int, indices: tuple[Term, ...]) -> LoopArray | None:
        data = self.data.get(buffer)
        if data is None or len(indices) != data.ndim:
            return None

        def read(*places: Values) -> Values:
            # Where a condition keeps the kernel from reading, places may lie outside.
            inside = [
                np.clip(place, 0, size - 1) for place, size in zip(places, data.shape, strict=True)
            ]
            return data[tuple(inside)].astype(np.int64)

        return self._combined(indices, read)

    def _combined(
        self, terms: Sequence[Term], operation: Callable[..., Values]
    ) -> LoopArray | None:
        found = [self.evaluate(term) for term in terms]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        loops, views, size = joined(known)
        if size > MOST_ELEMENTS:
            return None
        values = np.asarray(operation(*views))
        return LoopArray(loops, values if values.ndim == len(loops) else values.reshape(()))


def total_of(factors: Sequence[LoopArray]) -> float | None:
    """Sum of the product of ``factors`` over all their loops; None where it is too large."""
    groups: list[list[LoopArray]] = []
    for factor in factors:
        touching = [g for g in groups if any(set(f.loops) & set(factor.loops) for f in g)]
        groups = [g for g in groups if g not in touching]
        groups.append([factor, *(each for group in touching for each in group)])
    total = 1.0
    for group in groups:
        _, views, size = joined(group)
        if size > MOST_ELEMENTS:
            return None
        product: Any = 1.0
        for view in views:
            product = product * view
        total *= float(np.sum(product, dtype=np.float64))
    return total
