"""A chart as data: marks whose places across are percent, so that it fits a page of any width.

Heights are pixels, and text keeps its size; the template draws the marks as SVG.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Bar:
    """A rectangle; ``series`` gives its colour, ``tip`` what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    series: str
    tip: str


@dataclass(frozen=True)
class Dot:
    """A point."""

    x: float
    y: float
    series: str
    tip: str


@dataclass(frozen=True)
class Rule:
    """A straight line: of the grid, of an axis, or between points."""

    x1: float
    y1: float
    x2: float
    y2: float
    style: Literal["grid", "axis", "link"]


@dataclass(frozen=True)
class Label:
    """Text; ``shift`` moves it by pixels to the right."""

    x: float
    y: float
    text: str
    style: Literal["name", "value", "tick"]
    anchor: Anchor = "start"
    shift: float = 0.0


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes
    ----------
    title, summary
        What it shows, and the same in one line for those who do not see it.
    height
        Pixels.
    legend
        Series and what they mean.
    note
        What was left out.
    """

    title: str
    summary: str
    height: float
    bars: list[Bar] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class Scale:
    """From values to percent across (or pixels down); logarithmic where ``log``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Place of a value, kept between the two ends."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        share = (at - low) / (high - low) if high > low else 0.0
        return self.start + share * (self.end - self.start)


def log_scale(values: Sequence[float], start: float, end: float) -> tuple[Scale, list[float]]:
    """Scale over positive ``values`` and the powers of ten on it; its low end is one of them.

    The smallest value is well inside, so that its bar can be seen.
    """
    low = 10.0 ** math.floor(math.log10(min(values) / 1.5))
    high = max(max(values), 1.5 * low)
    exponents = range(round(math.log10(low)), math.floor(math.log10(high) + 1e-9) + 1)
    return Scale(low, high, start, end, log=True), [10.0**exponent for exponent in exponents]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between ``low`` and ``high``, on a logarithmic scale."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**exponent for exponent in exponents for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    return ticks


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between ``low`` and ``high``, evenly spaced."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * each for each in (1, 2, 5, 10) if unit * each >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
