"""Bytes after each stage: how many, and what they are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dcc.reporting.charts import (
    Anchor,
    Bar,
    Chart,
    Dot,
    Label,
    Rule,
    Scale,
    linear_ticks,
    log_ticks,
)
from dcc.reporting.facts import PARTS, CompressionReport, Point, Stage
from dcc.reporting.units import count_text, percent_text, ratio_text, short_name, size_text

STAGE_NAMES = {
    "dense": "Dense",
    "pruned": "Pruned",
    "shared": "Weights shared",
    "huffman": "Huffman-coded",
}
_ROW, _BAR, _NAME = 44, 16, 14
_HEIGHT, _TOP, _BOTTOM = 300, 24, 28
_LEFT, _RIGHT = 20, 80  # closer to an end than that, a label would be cut


def stage_chart(report: CompressionReport) -> Chart:
    """Draw a bar for each stage, as long as its bytes and cut into their parts."""
    longest = max((stage.bytes["total"] for stage in report.stages), default=0)
    return _stacked(
        report,
        "Bytes of all weights after each stage",
        [100.0 / max(longest, 1)] * len(report.stages),
    )


def part_chart(report: CompressionReport) -> Chart:
    """Draw the same bars, each stretched over the whole width."""
    factors = [100.0 / max(stage.bytes["total"], 1) for stage in report.stages]
    return _stacked(report, "What these bytes are", factors)


def _stacked(report: CompressionReport, title: str, factors: Sequence[float]) -> Chart:
    dense = report.stage("dense").bytes["total"]
    bars, labels = [], []
    for row, (stage, factor) in enumerate(zip(report.stages, factors, strict=True)):
        y = _ROW * row
        total = stage.bytes["total"]
        labels.append(Label(0, y + _NAME, STAGE_NAMES[stage.name], "name"))
        text = f"{count_text(total)} B, {ratio_text(dense / total if total else None)}"
        labels.append(Label(100, y + _NAME, text, "value", "end"))
        bars += _parts(stage, factor, y + _NAME + 6)
    used = [part for part in PARTS if any(stage.bytes[part] for stage in report.stages)]
    ends = ", ".join(
        f"{STAGE_NAMES[stage.name].lower()} {count_text(stage.bytes['total'])} bytes"
        for stage in report.stages
    )
    legend = [(part, part) for part in used]
    return Chart(title, f"{title}: {ends}", _ROW * len(report.stages), bars, [], [], labels, legend)


def _parts(stage: Stage, factor: float, y: float) -> list[Bar]:
    bars, x = [], 0.0
    total = max(stage.bytes["total"], 1)
    for part in PARTS:
        width = stage.bytes[part] * factor
        if width:
            share = percent_text(stage.bytes[part] / total)
            tip = f"{STAGE_NAMES[stage.name]}, {part}: {count_text(stage.bytes[part])} B ({share})"
            bars.append(Bar(x, y, width, _BAR, part, tip))
        x += width
    return bars


def accuracy_chart(points: Sequence[Point]) -> Chart:
    """Draw accuracy over the bytes of all weights, the stages joined in their order."""
    chart = Chart("Accuracy against the bytes of all weights", _points_summary(points), _HEIGHT)
    across, down = _axes(chart, points)
    places = [(across(max(point.bytes, 1)), down(point.accuracy)) for point in points]
    stages = [place for place, p in zip(places, points, strict=True) if p.kind == "stage"]
    chart.rules.extend(Rule(*one, *other, "link") for one, other in pairwise(stages))
    for number, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        name = _point_name(point)
        tip = f"{name}: {count_text(point.bytes)} B, {point.accuracy:.2f} %"
        chart.dots.append(Dot(x, y, point.kind, tip))
        anchor: Anchor = "end" if x > _RIGHT else "start" if x < _LEFT else "middle"
        # Neighbours of like accuracy are labelled above and below in turn.
        place = y - 10 if number % 2 == 0 else y + 20
        chart.labels.append(Label(x, place, short_name(name, 24), "value", anchor))
    chart.legend.append(("stage", "after each stage of the recipe"))
    if any(point.kind == "recipe" for point in points):
        chart.legend.append(("recipe", "other recipes"))
    return chart


def _axes(chart: Chart, points: Sequence[Point]) -> tuple[Scale, Scale]:
    """Draw grid and ticks; returns the scales across and down."""
    sizes = [max(point.bytes, 1) for point in points]
    smallest, largest = min(sizes) / 1.5, max(sizes) * 1.3
    across = Scale(smallest, largest, 0, 100, log=True)
    low, high = min(p.accuracy for p in points), max(p.accuracy for p in points)
    margin = max((high - low) * 0.2, 0.5)
    base = _HEIGHT - _BOTTOM
    down = Scale(low - margin, high + margin, base, _TOP)
    for value in linear_ticks(max(low - margin, 0.0), min(high + margin, 100.0)):
        chart.rules.append(Rule(0, down(value), 100, down(value), "grid"))
        chart.labels.append(Label(0, down(value) - 4, f"{value:g} %", "tick"))
    for value in log_ticks(smallest, largest):
        x = across(value)
        chart.rules.append(Rule(x, base, x, base + 5, "axis"))
        anchor: Anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        chart.labels.append(Label(x, base + 19, size_text(value), "tick", anchor))
    chart.rules.append(Rule(0, base, 100, base, "axis"))
    return across, down


def _point_name(point: Point) -> str:
    return STAGE_NAMES[point.label] if point.kind == "stage" else point.label


def _points_summary(points: Sequence[Point]) -> str:
    return "; ".join(
        f"{_point_name(point)}: {count_text(point.bytes)} bytes, {point.accuracy:.2f} %"
        for point in points
    )
