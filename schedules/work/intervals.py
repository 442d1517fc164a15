"""Between which numbers an index lies while some loops run and the others stand still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

from dcc.schedules.work.terms import Term

Interval: TypeAlias = tuple[float, float]


def interval_of(
    term: Term, trips: Mapping[int, float], data: Mapping[int, Interval]
) -> Interval | None:
    """Range of ``term``; None where it is not known.

    Parameters
    ----------
    trips
        Passes of the loops that run; others stand at their beginning.
    data
        Range of the elements of buffers that are known.
    """
    if isinstance(term, int):
        return (term, term)
    kind = term[0]
    if kind == "loop":
        return (0, max(math.ceil(trips.get(term[1], 1)) - 1, 0))
    if kind == "unknown":
        return None
    if kind == "load":
        places = [interval_of(index, trips, data) for index in term[2]]
        if all(place is not None and place[0] == place[1] for place in places):
            return (0, 0)  # some number that stands still
        return data.get(term[1])
    operands = term[1:3] if kind == "ramp" else term[1:]
    inner = [interval_of(each, trips, data) for each in operands]
    known = [each for each in inner if each is not None]
    if kind == "ramp":
        if len(known) < 2:
            return None
        width = (term[3] - 1) * known[1][1]
        return (known[0][0] + min(width, 0), known[0][1] + max(width, 0))
    if kind == "if":
        return _spanned(inner[1:])
    if kind == "min" and known and len(known) < len(inner):
        return (0, known[0][1])  # an unknown place, kept inside
    return _combined(kind, known) if len(known) == len(inner) == 2 else None


def _spanned(intervals: list[Interval | None]) -> Interval | None:
    known = [each for each in intervals if each is not None]
    if len(known) < len(intervals):
        return None
    return (min(each[0] for each in known), max(each[1] for each in known))


def _combined(kind: str, operands: list[Interval]) -> Interval | None:
    (a, b), (c, d) = operands
    if kind == "add":
        return (a + c, b + d)
    if kind == "sub":
        return (a - d, b - c)
    if kind == "mul":
        products = (a * c, a * d, b * c, b * d)
        return (min(products), max(products))
    if kind == "min":
        return (min(a, c), min(b, d))
    if kind == "max":
        return (max(a, c), max(b, d))
    if kind == "div" and c == d and c > 0:
        return (a // c, b // c)
    if kind == "shr" and c == d and c >= 0:
        return (a // 2**c, b // 2**c)
    if kind == "shl" and c == d and c >= 0:
        return (a * 2**c, b * 2**c)
    if kind == "mod" and c == d and c > 0:
        return (a % c, b % c) if b - a < c and a % c <= b % c else (0, c - 1)
    if kind == "bits" and c == d and c >= 0:
        return (0, c)
    return (0, 1) if kind in ("lt", "le", "gt", "ge", "eq", "ne", "and", "or") else None
