"""The figures at the top of the page: what became smaller, faster, cheaper, and at which loss."""

from __future__ import annotations

from dataclasses import dataclass

from dcc.reporting.facts import AUTO, CompressionReport, Device
from dcc.reporting.units import (
    NOTHING,
    count_text,
    energy_text,
    percent_text,
    ratio_text,
    time_text,
)

_DENSE = "dense"


@dataclass(frozen=True)
class KeyFigure:
    """One figure: what it is of, the figure, and how it came about."""

    label: str
    value: str
    detail: str


def overview(report: CompressionReport) -> list[KeyFigure]:
    """List the figures that there are."""
    figures = [_size(report), _kept(report)]
    if report.points:
        figures.append(_accuracy(report))
    for device in report.devices:
        figures += [figure for figure in (_time(device), _energy(device)) if figure is not None]
    return figures


def _size(report: CompressionReport) -> KeyFigure:
    before = report.stage("dense").file_bytes
    after = report.stage("huffman").file_bytes
    if before is None:  # a container: the dense file is gone
        weights = report.stage("dense").bytes["total"]
        ratio = weights / after if after else None
        return KeyFigure(
            "Container",
            ratio_text(ratio),
            f"{count_text(after)} B; dense weights {count_text(weights)} B",
        )
    return KeyFigure(
        "Smaller file", ratio_text(report.ratio), f"{count_text(before)} to {count_text(after)} B"
    )


def _kept(report: CompressionReport) -> KeyFigure:
    weights = sum(layer.weights for layer in report.layers)
    return KeyFigure("Weights kept", percent_text(report.density), f"of {count_text(weights)}")


def _accuracy(report: CompressionReport) -> KeyFigure:
    before, after = (report.stage(name).accuracy for name in ("dense", "huffman"))
    value = NOTHING if after is None else f"{after:.2f} %"
    samples = count_text(report.data.samples) if report.data is not None else NOTHING
    if before is None or after is None:
        return KeyFigure("Accuracy", value, f"of {samples} samples")
    change = f"{after - before:+.2f} points"
    return KeyFigure("Accuracy", value, f"{change}; dense {before:.2f} %, {samples} samples")


def _time(device: Device) -> KeyFigure | None:
    auto, dense = device.variant(AUTO), device.variant(_DENSE)
    if device.timing == "none" or auto is None or auto.seconds is None:
        return KeyFigure(f"Time on {device.name}", "not timed", "see below why")
    details: list[str] = [device.timing]
    if dense is not None and dense.seconds:
        details.append(f"dense form {time_text(dense.seconds)}")
    if device.reference_seconds is not None:
        details.append(f"ONNX Runtime {time_text(device.reference_seconds)}")
    return KeyFigure(f"Time on {device.name}", time_text(auto.seconds), ", ".join(details))


def _energy(device: Device) -> KeyFigure | None:
    auto, dense = device.variant(AUTO), device.variant(_DENSE)
    if auto is None or auto.picojoules is None:
        return None
    detail = "proxy, not measured"
    if dense is not None and dense.picojoules is not None:
        detail += f"; dense form {energy_text(dense.picojoules)}"
    return KeyFigure(f"Energy proxy, {device.name}", energy_text(auto.picojoules), detail)
