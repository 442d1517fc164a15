"""Ratio and accuracy after training: whole ``.dcz`` file against the dense ONNX file.

    python benchmarks/accuracy.py --models FOLDER --mnist FOLDER [--seeds 3] [--only lenet-5]

Accuracy is that of the compiled module on the whole test set; the median of the seeds, with the
range. The recipes ``...-paper`` have the densities and bits of Han, Mao, Dally 2016, tables 2
and 3; their layers are printed beside the paper's. Minutes are of CPU time, all threads together,
training, compilation and test in them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import dcc
import dcc.data
from dcc.cli.console import print_table, size_text
from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.codegen.relative_index import to_entries
from dcc.machine import machine_facts
from dcc.training.outcome import Finetuning


@dataclass(frozen=True)
class Case:
    """A model and its recipe, and what to reach."""

    model: str
    recipe: str
    ratio: float
    accuracy: float


CASES = (
    Case("lenet300100_caffe_mnist_dense", "lenet-300-100", 120, 97.72),
    Case("lenet5_caffe_mnist_dense", "lenet-5", 200, 99.04),
    Case("lenet300100_caffe_mnist_dense", "lenet-300-100-paper", 40, 97.72),
    Case("lenet5_caffe_mnist_dense", "lenet-5-paper", 39, 99.09),
    Case("digits", "digits", 20, 98.89),
)

# Kept %, bits of weights and of indices before and after Huffman coding, size in % of dense.
PAPER = {
    "lenet-300-100-paper": {
        "ip1_w": (8, 6, 4.4, 5, 3.7, 2.32),
        "ip2_w": (9, 6, 4.4, 5, 4.3, 3.04),
        "ip3_w": (26, 6, 4.3, 5, 3.2, 12.70),
    },
    "lenet-5-paper": {
        "conv1_w": (66, 8, 7.2, 5, 1.5, 67.45),
        "conv2_w": (12, 8, 7.2, 5, 3.9, 5.28),
        "ip1_w": (8, 5, 4.5, 5, 4.5, 2.45),
        "ip2_w": (19, 5, 5.2, 5, 3.7, 6.13),
    },
}


def main() -> None:
    """Train every case with every seed and print the tables."""
    parser = argparse.ArgumentParser(description="Ratio and accuracy after training")
    parser.add_argument("--models", type=Path, required=True, help="folder of ONNX files")
    parser.add_argument("--mnist", type=Path, required=True, help="folder of MNIST's IDX files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="one recipe")
    parser.add_argument("--json", type=Path, help="also write every run there")
    arguments = parser.parse_args()
    rows, tables, runs = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        digits = digits_data(Path(folder))
        for case in CASES:
            if arguments.only in (None, case.recipe):
                inputs = (
                    (Path(dcc.data.__path__[0]) / "digits.onnx", digits)
                    if case.model == "digits"
                    else (arguments.models / f"{case.model}.onnx", arguments.mnist)
                )
                results, seconds = train(case, *inputs, range(arguments.seeds))
                rows.append(summary(case, results, seconds))
                runs += [
                    {"recipe": case.recipe, "seed": seed, **result.to_json()}
                    for seed, result in enumerate(results)
                ]
                if case.recipe in PAPER:
                    tables.append((case.recipe, layer_rows(case.recipe, results[0])))
    facts = machine_facts()
    columns = ("recipe", "bytes", "ratio", "accuracy, range", "dense", "CPU minutes", "goal")
    print_table(f"{facts['processor']}, {arguments.seeds} seeds, medians", columns, rows)
    for recipe, layers in tables:
        names = ("layer", "kept %", "weight bits", "index bits", "bytes", "size %", "")
        print_table(f"{recipe}: ours, paper's in brackets", names, layers)
    if arguments.json:
        arguments.json.write_text(json.dumps(runs, indent=1))


def train(
    case: Case, model: Path, data: Path, seeds: range
) -> tuple[list[Finetuning], list[float]]:
    """Results and CPU seconds of each seed."""
    results, seconds = [], []
    for seed in seeds:
        start = time.process_time()
        results.append(dcc.finetune(model, data, recipe=case.recipe, seed=seed))
        seconds.append(time.process_time() - start)
        last = results[-1]
        print(
            f"{case.recipe}, seed {seed}: {last.bytes:,} bytes, {last.ratio:.1f}x, "
            f"{last.accuracy:.2f} %, {seconds[-1] / 60:.1f} CPU minutes",
            flush=True,
        )
    return results, seconds


def summary(case: Case, results: list[Finetuning], seconds: list[float]) -> tuple[str, ...]:
    """Make the line of a case: medians, and the range of the accuracy."""
    accuracies = sorted(result.accuracy for result in results)
    return (
        case.recipe,
        size_text(round(statistics.median(result.bytes for result in results))),
        f"{statistics.median(result.ratio for result in results):.1f}x",
        f"{statistics.median(accuracies):.2f} %, {accuracies[0]:.2f} to {accuracies[-1]:.2f}",
        f"{results[0].dense_accuracy:.2f} %",
        f"{statistics.median(seconds) / 60:.1f}",
        f"{case.ratio:g}x at {case.accuracy:.2f} %",
    )


def layer_rows(recipe: str, result: Finetuning) -> list[tuple[str, ...]]:
    """Make a line for each layer beside the paper's."""
    rows = []
    for name, (kept, bits, coded, gaps, coded_gaps, size) in PAPER[recipe].items():
        tensor = result.container.tensors[name]
        storage, choices = tensor.nbytes(), tensor.choices
        connections = round(tensor.density * tensor.size)
        rows.append(
            (
                name,
                f"{100 * tensor.density:.1f} ({kept})",
                f"{choices.code_bits} -> {_entropy(tensor, codes=True):.1f} ({bits} -> {coded})",
                f"{choices.gap_bits} -> {_entropy(tensor, codes=False):.1f} "
                f"({gaps} -> {coded_gaps})",
                f"{storage.total:,}",
                f"{100 * storage.total / (4 * tensor.size):.2f} ({size})",
                f"{8 * storage.total / max(connections, 1):.1f} bits a connection, all counted",
            )
        )
    return rows


def _entropy(tensor: EncodedTensor, codes: bool) -> float:
    """Bits a stored entry of ideal codes for the values or the gaps, fillers included."""
    assert tensor.mask is not None
    assert tensor.codes is not None
    positions = np.flatnonzero(tensor.mask)
    gaps, fillers = to_entries(positions, tensor.size, tensor.choices.gap_bits or 1)
    symbols = np.asarray(gaps, dtype=np.int64)
    if codes:
        symbols = np.zeros(len(gaps), dtype=np.int64)
        symbols[~fillers] = tensor.codes.ravel()[positions]
    shares = np.unique(symbols, return_counts=True)[1] / max(len(symbols), 1)
    return float(-(shares * np.log2(shares)).sum())


def digits_data(folder: Path) -> Path:
    """Write the training digits, and those that ship with dcc as test, to one ``.npz`` file."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, np.newaxis]
    parts = train_test_split(
        images,
        digits.target.astype(np.int64),
        test_size=360,
        random_state=0,
        stratify=digits.target,
    )
    path = folder / "digits.npz"
    np.savez(path, x=parts[0], y=parts[2], x_test=parts[1], y_test=parts[3])
    return path


if __name__ == "__main__":
    main()
