"""The roofline of an accelerator with a point for each operation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dcc.accelerator.report import OperationReport
from dcc.errors import DccError, OutputError
from dcc.targets.vta.device import VTA
from dcc.targets.vta.isa import BLOCK


def write_roofline(reports: Sequence[OperationReport], path: str | Path, title: str) -> None:
    """Plot operations per second over operations for each byte of DRAM traffic.

    Parameters
    ----------
    path
        Its suffix says the format: ``.png``, ``.svg``, ``.pdf``.

    Raises
    ------
    DccError
        Matplotlib is not installed.
    OutputError
        The file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DccError(
            "the plot needs matplotlib: pip install '.[train]' in dcc's source tree"
        ) from None
    timing = VTA.timing
    peak = 2 * BLOCK * BLOCK * timing.megahertz * 1e-3
    bandwidth = timing.bus_bytes / timing.beat * timing.megahertz * 1e-3
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    points = [each for each in reports if each.run.micro_ops]
    intensities = np.array([each.operations_each_byte for each in points])
    rates = np.array([2 * BLOCK * BLOCK * each.run.utilisation for each in points])
    rates = rates * timing.megahertz * 1e-3
    low = min(1.0, float(intensities.min(initial=1.0)))
    span = np.geomspace(low / 2, max(1000.0, 2 * float(intensities.max(initial=1.0))), 200)
    axes.loglog(span, np.minimum(peak, bandwidth * span), color="#333333")
    axes.scatter(intensities, rates, color="#4c78a8", zorder=3)
    for each, x, y in zip(points, intensities, rates, strict=True):
        axes.annotate(
            each.operation.name, (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points"
        )
    axes.set_xlabel("operations for each byte from or to DRAM")
    axes.set_ylabel("GOP/s (simulated)")
    axes.set_title(f"{title}: peak {peak:.1f} GOP/s, read bus {bandwidth:.2f} GB/s")
    axes.grid(visible=True, which="both", alpha=0.2)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write '{path}': {error}") from None
