"""Our sparse and huffman kernels beside ``huffman_gemv.c``, hand-written for AVX-512, one thread.

    python benchmarks/yardstick.py [--source ../shared/reference/huffman_gemv.c] [--rounds 3]

The fully connected layers of AlexNet (fc6) and VGG-16 (fc6), our weights drawn as the yardstick
draws its own. It times its kernels itself, best of seven; ours are timed by the median of the best
block, call included, while it rests.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from alternation import Contender, Process, latency, running
from layer_cases import LAYERS, Case, layer_model
from ratios import setting, setting_line, write_json
from rich.console import Console
from rich.table import Table

import dcc

ARGUMENTS = {"Alex-6": ("4096", "9216", "0.09", "5"), "VGG-6": ("4096", "25088", "0.04", "6")}
"""Rows, columns, density and gap bits that the yardstick is given."""
SOURCE = Path(__file__).resolve().parents[1].parent / "shared" / "reference" / "huffman_gemv.c"
KERNELS = {"sparse": "sparse, uncoded", "huffman": "huffman, four slices interleaved"}


def build(source: Path, folder: Path) -> Path:
    """Compile the yardstick as its first lines say."""
    program = folder / "huffman_gemv"
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O3", "-march=native", source, "-o", program, "-lm"]
    subprocess.run(command, check=True)
    return program


def parse(output: str) -> dict[str, float]:
    """Seconds of the two kernels, from what the yardstick prints."""
    found = {}
    for form, label in KERNELS.items():
        match = re.search(rf"^{re.escape(label)}\s+([\d.]+) ms", output, re.MULTILINE)
        if match is None:
            raise ValueError(f"the yardstick printed no line '{label}': {output}")
        found[form] = 1e-3 * float(match[1])
    return found


def run_yardstick(program: Path, name: str) -> dict[str, float]:
    """Run it once on the first processor."""
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), program, *ARGUMENTS[name]]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return parse(done.stdout)


def modules(case: Case, seed: int, folder: Path, keep: bool) -> dict[str, Contender]:
    """Compile the layer in both forms."""
    found = {}
    for form in KERNELS:
        path = folder / f"{case.name}-yardstick-{form}.so"
        if not (keep and path.exists()):
            model = folder / f"{case.name}-yardstick.onnx"
            if not model.exists():
                onnx.save(layer_model(case, 1, seed), model)
            dcc.compile(model, path, storage=form)
        found[form] = Contender("dcc", path)
    return found


def measure(case: Case, program: Path, ours: dict[str, Contender], rounds: int) -> dict[str, float]:
    """Seconds of the yardstick's kernels and, with ``ours`` before the name, of our modules."""
    theirs: dict[str, list[float]] = {form: [] for form in KERNELS}
    blocks: dict[str, list[list[float]]] = {form: [] for form in KERNELS}
    x = np.random.default_rng(0).uniform(-1, 1, case.input_shape(1)).astype(np.float32)
    processes: dict[str, Process]
    with running(ours, {"x": x}, threads=1) as processes:
        for _ in range(rounds):
            for form, seconds in run_yardstick(program, case.name).items():
                theirs[form].append(seconds)
            for form in KERNELS:
                blocks[form].append(processes[form].block())
    found = {f"ours {form}": latency(timed).best for form, timed in blocks.items()}
    return {**{form: min(seconds) for form, seconds in theirs.items()}, **found}


def print_table(results: dict[str, dict[str, float]]) -> None:
    """Milliseconds of both and their ratios."""
    table = Table("layer", "form", "yardstick ms", "ours ms", "ours / yardstick")
    for name, seconds in results.items():
        for form in KERNELS:
            theirs, ours = seconds[form], seconds[f"ours {form}"]
            ratio = f"{ours / theirs:.2f}"
            table.add_row(name, form, f"{1e3 * theirs:.3f}", f"{1e3 * ours:.3f}", ratio)
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--source", type=Path, default=SOURCE, help="huffman_gemv.c")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep models and modules here")
    parser.add_argument("--prepare", action="store_true", help="make models and modules, and stop")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.source.is_file():
        parser.error(f"there is no '{options.source}': say where the yardstick is with --source")
    facts = setting(1, options.seed, rounds=options.rounds)
    print(setting_line(facts), flush=True)
    results = {}
    with tempfile.TemporaryDirectory() as place:
        program = build(options.source, Path(place))
        folder = options.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARGUMENTS:
            case = replace(next(c for c in LAYERS if c.name == name), codes="yardstick")
            ours = modules(case, options.seed, folder, keep=not options.prepare)
            if not options.prepare:
                results[name] = measure(case, program, ours, options.rounds)
    if results:
        print_table(results)
    if options.json is not None:
        write_json(options.json, {**facts, "seconds": results})


if __name__ == "__main__":
    main()
