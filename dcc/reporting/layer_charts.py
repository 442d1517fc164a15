"""Density of all layers, and the histograms of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dcc.reporting.charts import Bar, Chart, Label, Rule
from dcc.reporting.facts import CodeUse, Histogram, Layer
from dcc.reporting.units import count_text, percent_text, short_name

MOST_ROWS = 24
MOST_HISTOGRAMS = 60
_ROW, _BAR, _NAME = 36, 10, 13
_HEIGHT, _TOP, _BASE = 118, 6, 92


def weight_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Leave out biases and other small tensors beside the weights, if anything else is there."""
    matrices = [layer for layer in layers if layer.operator != "bias" and len(layer.shape) > 1]
    return matrices or list(layers)


def density_chart(layers: Sequence[Layer]) -> Chart:
    """Draw the share of weights that each layer keeps; of many layers, the largest."""
    shown = _largest(layers)
    title = "Weights kept, by layer"
    chart = Chart(
        title, _densities(shown), _ROW * len(shown), note=left_out(len(layers) - len(shown))
    )
    for row, layer in enumerate(shown):
        y = _ROW * row
        tip = f"{layer.name}: {percent_text(layer.density)} of {count_text(layer.weights)} weights"
        chart.labels.append(Label(0, y + _NAME, short_name(layer.name, 36), "name"))
        chart.labels.append(Label(100, y + _NAME, percent_text(layer.density), "value", "end"))
        chart.bars.append(Bar(0, y + _NAME + 5, 100, _BAR, "track", tip))
        chart.bars.append(Bar(0, y + _NAME + 5, 100 * layer.density, _BAR, "kept", tip))
    return chart


def code_chart(layer: Layer) -> Chart | None:
    """Draw how often each shared value is used, or the values where none are shared."""
    if layer.codes is not None and layer.codes.counts:
        return _code_use(layer.name, layer.codes)
    if layer.values is not None:
        title = "Values, not shared"
        return _bins(f"{title} of {layer.name}", title, layer.values, "values", "{:.3g}")
    return None


def row_chart(layer: Layer) -> Chart | None:
    """Draw how many rows keep which share of their weights."""
    if layer.row_density is None:
        return None
    title = "Rows by the share that they keep"
    return _bins(f"{title}, {layer.name}", title, layer.row_density, "kept", "{:.0%}")


def left_out(count: int) -> str:
    """Say how many layers a chart leaves out."""
    if count <= 0:
        return ""
    return (
        f"The {count} smaller layers are in the table."
        if count > 1
        else "One more layer is in the table."
    )


def _largest(layers: Sequence[Layer]) -> list[Layer]:
    """Keep the largest layers, in the order of the model."""
    kept = sorted(range(len(layers)), key=lambda i: -layers[i].weights)[:MOST_ROWS]
    return [layers[index] for index in sorted(kept)]


def _densities(layers: Sequence[Layer]) -> str:
    return "Weights kept: " + ", ".join(
        f"{layer.name} {percent_text(layer.density)}" for layer in layers
    )


def _code_use(name: str, codes: CodeUse) -> Chart:
    title = f"Use of {len(codes.values)} shared values"
    tips = [
        f"{value:.4g}: {count_text(count)} weights"
        for value, count in zip(codes.values, codes.counts, strict=True)
    ]
    ends = (f"{codes.values[0]:.3g}", f"{codes.values[-1]:.3g}")
    return _columns(f"{title} of {name}", title, codes.counts, tips, ends, "codes")


def _bins(summary: str, title: str, histogram: Histogram, series: str, form: str) -> Chart:
    pairs = zip(pairwise(histogram.edges), histogram.counts, strict=True)
    tips = [f"{form.format(a)} to {form.format(b)}: {count_text(n)}" for (a, b), n in pairs]
    ends = (form.format(histogram.edges[0]), form.format(histogram.edges[-1]))
    return _columns(summary, title, histogram.counts, tips, ends, series)


def _columns(
    summary: str,
    title: str,
    counts: Sequence[int],
    tips: Sequence[str],
    ends: tuple[str, str],
    series: str,
) -> Chart:
    """Draw columns side by side; ``ends`` stand below the first and the last."""
    highest = max(max(counts), 1)
    chart = Chart(title, f"{summary}: from {ends[0]} to {ends[1]}, at most {highest:,}", _HEIGHT)
    step = 100.0 / len(counts)
    gap = min(0.15 * step, 0.6)
    for place, (count, tip) in enumerate(zip(counts, tips, strict=True)):
        # What is there is seen, if only as a line.
        height = max((_BASE - _TOP) * count / highest, 1.0) if count else 0.0
        if height:
            chart.bars.append(
                Bar(place * step + gap / 2, _BASE - height, step - gap, height, series, tip)
            )
    chart.rules.append(Rule(0, _BASE, 100, _BASE, "axis"))
    chart.labels.append(Label(0, _BASE + 16, ends[0], "tick"))
    chart.labels.append(Label(50, _BASE + 16, f"most {highest:,}", "tick", "middle"))
    if len(counts) > 1:
        chart.labels.append(Label(100, _BASE + 16, ends[1], "tick", "end"))
    return chart
