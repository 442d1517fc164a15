"""The figures of the README on real models: bytes, ratio, accuracy, seconds, parts of the module.

    python benchmarks/figures.py --models FOLDER --data MNIST_FOLDER [--bench]

For each model: the container under its recipe, the module compiled from it, and whether that agrees
with ONNX Runtime. ``--bench`` measures latency beside ONNX Runtime as well.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import dcc
from dcc.cli.console import print_table, size_text, time_text
from dcc.machine import machine_facts


@dataclass(frozen=True)
class Case:
    """A model, its recipe, and whether the MNIST test set is its input."""

    name: str
    recipe: str
    digits: bool = False


CASES = (
    Case("lenet300100_caffe_mnist_pruned_dns", "deep-compression", digits=True),
    Case("lenet5_caffe_mnist_pruned_dns", "deep-compression", digits=True),
    Case("squeezenet_v1.0_deep_compressed_decoded", "lossless"),
    Case("lenet300100_caffe_mnist_pruned_dns", "lossless", digits=True),
    Case("lenet5_caffe_mnist_pruned_dns", "lossless", digits=True),
)
COLUMNS = (
    "model",
    "recipe",
    "ONNX",
    ".dcz",
    "ratio",
    ".so",
    "code",
    "weights",
    "rest",
    "s compress",
    "s compile",
    "error",
    "accuracy",
    "reference",
    "ms dcc",
    "ms ORT",
    "",
)


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(description="Figures of dcc on real models")
    parser.add_argument("--models", type=Path, required=True, help="folder of ONNX files")
    parser.add_argument("--data", type=Path, help="folder of the MNIST test set (IDX files)")
    parser.add_argument("--bench", action="store_true", help="measure latency, too")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            model = arguments.models / f"{case.name}.onnx"
            if model.is_file():
                rows.append(measure(case, model, arguments.data, arguments.bench, Path(folder)))
    facts = machine_facts()
    print_table(f"{facts['processor']}, {facts['processors']} processors", COLUMNS, rows, left=2)


def measure(
    case: Case, model: Path, data: Path | None, bench: bool, folder: Path
) -> tuple[str, ...]:
    """Compress, compile, verify and perhaps time one model; the cells of its line."""
    container, module = folder / "model.dcz", folder / "model.so"
    start = time.perf_counter()
    dcc.compress(model, container, recipe=case.recipe)
    compressed = time.perf_counter()
    dcc.compile(container, module)
    compiled = time.perf_counter()
    same = dcc.verify(module, container)
    worst = max(output.relative_error for output in same.outputs)
    labelled = dcc.verify(module, model, data=data) if case.digits and data else None
    parts = dcc.inspect(module).parts
    sizes = [path.stat().st_size for path in (model, container, module)]
    return (
        case.name,
        case.recipe,
        size_text(sizes[0]),
        size_text(sizes[1]),
        f"{sizes[0] / sizes[1]:.1f}x",
        size_text(sizes[2]),
        *(size_text(parts[part]) for part in ("code", "weights", "rest")),
        f"{compressed - start:.1f}",
        f"{compiled - compressed:.1f}",
        f"{worst:.1e}",
        *(
            (f"{labelled.accuracy:.2f} %", f"{labelled.reference_accuracy:.2f} %")
            if labelled
            else ("", "")
        ),
        *(_latencies(module, model) if bench else ("", "")),
        "",
    )


def _latencies(module: Path, model: Path) -> tuple[str, str]:
    ours, theirs = dcc.benchmark(module, model, against=("onnxruntime",)).contenders
    return time_text(ours.median_seconds), time_text(theirs.median_seconds)


if __name__ == "__main__":
    main()
