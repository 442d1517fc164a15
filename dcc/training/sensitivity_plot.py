"""The curves of a sensitivity analysis as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dcc.errors import DccError
from dcc.files import atomic_write
from dcc.training.sensitivity import Sensitivity
from dcc.training.torch_extra import INSTALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST_LEGEND = 12


def write_plot(sensitivity: Sensitivity, path: str | Path) -> None:
    """Write accuracy against density and against bits, a line for each layer, as a PNG.

    Raises
    ------
    DccError
        matplotlib is not installed.
    OutputError
        The file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DccError(f"a plot needs matplotlib, which is not installed; {INSTALL}") from error
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    density, bits = figure.subplots(1, 2, sharey=True)
    for index, layer in enumerate(sensitivity.layers):
        colour = f"C{index % 10}"
        pruned, shared = layer.by_density(), layer.by_bits()
        if len(pruned) > 1:
            density.plot(
                [100 * p.density for p in pruned], [p.accuracy for p in pruned], ".-",
                label=layer.name, color=colour,
            )  # fmt: skip
        bits.plot(
            [p.bits for p in shared], [p.accuracy for p in shared], ".-",
            label=layer.name, color=colour,
        )  # fmt: skip
    _finish(density, "weights kept, %", sensitivity)
    density.set_xscale("log")
    density.invert_xaxis()
    density.set_ylabel("accuracy on validation data, %")
    _finish(bits, "bits of a shared weight", sensitivity)
    bits.invert_xaxis()
    figure.suptitle("one layer compressed, without retraining")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _finish(axes: Axes, label: str, sensitivity: Sensitivity) -> None:
    axes.axhline(sensitivity.accuracy, color="gray", linewidth=0.8, linestyle=":")
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
    if len(sensitivity.layers) <= _LARGEST_LEGEND:
        axes.legend(fontsize="small", loc="lower left")
