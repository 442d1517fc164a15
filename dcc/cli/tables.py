"""The tables of ``inspect``, ``compress`` and ``compile``: a line for each layer, then sums."""

from __future__ import annotations

from dcc.cli.console import print_table, size_text
from dcc.layer_report import PARTS, LayerReport, Report
from dcc.tensor_spec import TensorSpec

_COLUMNS = ("layer", "shape", "density", "bits", *PARTS, "ratio", "form", "why")


def print_report(report: Report) -> None:
    """Print a file's layers and sums."""
    rows = [_row(layer) for layer in report.layers]
    print_table(_title(report), _COLUMNS, rows, left=2)
    print(_sums(report))
    if "target" in report.details:
        print(_interface(report))
    kernels = report.details.get("kernels", {})
    if kernels:
        print_table(
            f"{len(kernels)} kernels", ("kernel", "schedule"), list(kernels.items()), left=2
        )


def _title(report: Report) -> str:
    kinds = {"onnx": "ONNX model", "container": "container", "module": "module"}
    return f"{report.path}: {kinds[report.kind]}, {len(report.layers)} weight tensors"


def _interface(report: Report) -> str:
    """Say what a module runs on, takes and gives."""
    details = report.details
    sides = [
        f"{side}: {', '.join(str(TensorSpec.from_json(spec)) for spec in details.get(side, []))}"
        for side in ("inputs", "outputs")
    ]
    return "; ".join((f"target {details['target'].get('name', 'unknown')}", *sides))


def _row(layer: LayerReport) -> tuple[str, ...]:
    return (
        layer.name,
        "x".join(map(str, layer.shape)) or "scalar",
        f"{100 * layer.density:.1f} %",
        _bits(layer),
        *(size_text(layer.bytes[part]) for part in PARTS),
        f"{layer.ratio:.1f}x",
        layer.form,
        layer.reason,
    )


def _bits(layer: LayerReport) -> str:
    """Bits of a weight, and of an index after a plus sign."""
    weight = "" if layer.weight_bits is None else str(layer.weight_bits)
    index = "" if layer.index_bits is None else f"+{layer.index_bits}"
    return weight + index


def _sums(report: Report) -> str:
    ratio = report.dense_bytes / max(report.stored_bytes, 1)
    text = (
        f"weights: {report.dense_bytes:,} bytes dense, {report.stored_bytes:,} stored "
        f"({ratio:.1f}x); file: {report.file_bytes:,} bytes"
    )
    if report.parts:
        parts = ", ".join(f"{name} {count:,}" for name, count in report.parts.items())
        text += f" ({parts})"
    return text
