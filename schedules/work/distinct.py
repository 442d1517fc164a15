"""How many elements of a buffer some accesses touch, each counted once.

An index is a sum of steps, ``stride * counter``, and a beginning. Steps that overlap make a run of
neighbours; the others repeat it:

    planes[row * 112 + shift * 112 + column + offset]  ->  runs of columns + offsets, rows + shifts
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dcc.schedules.work.intervals import Interval, interval_of
from dcc.schedules.work.terms import Term


@dataclass
class Steps:
    """An index as a sum.

    Attributes
    ----------
    lengths
        Stride -> how many values its counters together take.
    start
        Least value.
    """

    lengths: dict[float, float] = field(default_factory=dict)
    start: float = 0.0

    def add(self, stride: float, count: float) -> None:
        """Add a counter of ``count`` values, ``stride`` elements apart."""
        if stride < 0:
            self.start += stride * (count - 1)
        if stride and count > 1:
            size = abs(stride)
            self.lengths[size] = self.lengths.get(size, 1.0) + count - 1

    @property
    def span(self) -> float:
        """Elements from the first to the last."""
        return 1.0 + sum(stride * (count - 1) for stride, count in self.lengths.items())

    def runs(self) -> tuple[float, float]:
        """Length of a run of neighbours, and how many runs there are."""
        run, repeated = 1.0, 1.0
        for stride, count in sorted(self.lengths.items()):
            if repeated == 1.0 and stride <= run:
                run += stride * (count - 1)
            else:
                repeated *= count
        return run, repeated


def steps_of(
    indices: Sequence[Term],
    shape: Sequence[int],
    trips: Mapping[int, float],
    data: Mapping[int, Interval],
) -> Steps:
    """Read the indices of an access to a buffer of ``shape``; see :func:`interval_of`.

    An axis whose index the data decide is taken whole.
    """
    result, stride = Steps(), 1
    for index, extent in zip(reversed(indices), reversed(shape), strict=True):
        part = Steps()
        if _add(part, index, 1.0, trips, data) and part.span <= extent:
            for size, count in part.lengths.items():
                result.add(size * stride, count)
            result.start += part.start * stride
        else:
            result.add(stride, extent)
        stride *= extent
    return result


def _add(
    steps: Steps,
    term: Term,
    factor: float,
    trips: Mapping[int, float],
    data: Mapping[int, Interval],
) -> bool:
    """Add ``factor * term``; False where its range is not known."""
    if isinstance(term, int):
        steps.start += factor * term
        return True
    kind = term[0]
    if kind == "loop":
        steps.add(factor, max(math.ceil(trips.get(term[1], 1)), 1))
        return True
    if kind in ("add", "sub"):
        sign = 1 if kind == "add" else -1
        return _add(steps, term[1], factor, trips, data) and _add(
            steps, term[2], sign * factor, trips, data
        )
    if kind == "mul" and any(isinstance(each, int) for each in term[1:]):
        number, other = (term[1], term[2]) if isinstance(term[1], int) else (term[2], term[1])
        return _add(steps, other, factor * number, trips, data)
    if kind == "ramp" and isinstance(term[2], int):
        steps.add(factor * term[2], term[3])
        return _add(steps, term[1], factor, trips, data)
    found = interval_of(term, trips, data)
    if found is None:
        return False
    steps.start += factor * found[0]
    steps.add(factor, found[1] - found[0] + 1)
    return True


def distinct_elements(accesses: Sequence[Steps]) -> float:
    """Elements that accesses to one buffer touch, about; never too few for sums of steps."""
    groups: dict[tuple[tuple[float, float], ...], list[Steps]] = {}
    for steps in accesses:
        groups.setdefault(tuple(sorted(steps.lengths.items())), []).append(steps)
    total = 0.0
    for group in groups.values():
        run, repeated = group[0].runs()
        starts = sorted({steps.start for steps in group})
        gaps = [after - before for before, after in pairwise(starts)]
        total += repeated * (run + sum(min(run, gap) for gap in gaps))
    first = min(steps.start for steps in accesses)
    last = max(steps.start + steps.span for steps in accesses)
    return min(total, last - first)
