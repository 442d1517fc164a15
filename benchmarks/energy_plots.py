"""Bars by layer on a logarithmic scale, one for each form: Figures 9 and 10 of Deep Compression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from ratios import geometric_mean

PAPER = {"CPU": 7.0, "GPU": 3.3, "mobile GPU": 4.2}
"""Deep Compression (Han, Mao, Dally 2016), section 6.3: dense over pruned, batch 1."""
COLOURS = {
    "dense": "#9aa5b1",
    "codebook": "#f2b134",
    "sparse": "#2a7de1",
    "huffman": "#0b3c6f",
    "auto": "#3aa76d",
}
MEAN = "geometric mean"


def draw_bars(
    ratios: Mapping[str, Mapping[str, float]],
    forms: Sequence[str],
    title: str,
    axis: str,
    path: Path,
) -> None:
    """Write a PNG; the last group are geometric means of the layers that have the form."""
    groups = {name: dict(row) for name, row in ratios.items()}
    groups[MEAN] = {
        form: geometric_mean(row[form] for row in ratios.values() if form in row)
        for form in forms
        if any(form in row for row in ratios.values())
    }
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.8 / len(forms)
    for number, form in enumerate(forms):
        places = [n for n, row in enumerate(groups.values()) if form in row]
        heights = [row[form] for row in groups.values() if form in row]
        left = [place - 0.4 + (number + 0.5) * width for place in places]
        bars = axes.bar(left, heights, width, color=COLOURS[form], label=form)
        labels = [f"{height:.1f}" if height < 10 else f"{height:.0f}" for height in heights]
        axes.bar_label(bars, labels, fontsize=7, padding=1)
    axes.set_yscale("log")
    axes.set_ylabel(axis)
    axes.set_title(title)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.axhline(1.0, color="#444444", linewidth=0.8)
    axes.axvline(len(groups) - 1.5, color="#cccccc", linewidth=0.8)
    axes.legend(ncols=len(forms), loc="upper left", frameon=False)
    axes.margins(y=0.15)
    figure.savefig(path, dpi=130)
