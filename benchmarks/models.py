"""Whole models beside ONNX Runtime and OpenVINO in single precision.

    python benchmarks/models.py --models FOLDER [NAME ...] [--prune 0.1] [--storage auto]
        [--threads 2] [--json FILE] [--modules FOLDER] [--profile]

Each contender runs in a process of its own, in blocks of at least 0.3 s while the others are idle;
the blocks of all contenders alternate. The table has the medians of the best blocks, and the time
of ONNX Runtime and of the faster opponent over ours. ``--prune`` keeps that part of every weight
that can be compressed, in a codebook of 16 entries; the opponents run the same weights densely.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from alternation import Contender, Process, take_turns
from ratios import geometric_mean
from rich.console import Console
from rich.table import Table

import dcc
from dcc.codegen.module_file import read_metadata
from dcc.container import read
from dcc.machine import machine_facts
from dcc.passes.options import Recipe
from dcc.random_inputs import random_inputs
from dcc.tensor_spec import TensorSpec

KINDS = ("onnxruntime", "openvino", "dcc")
# Inputs of the one model whose dimensions have no obvious size, and what its index may be.
SHAPES = {"silero_vad_lstm_op18_ifless": {"input": (1, 576), "state": (2, 1, 128)}}
RANGES = {"silero_vad_lstm_op18_ifless": {"sr": (16000.0, 16000.0)}}


@dataclass(frozen=True)
class Result:
    """Median seconds of each contender that ran (best block), and our largest relative error."""

    model: str
    seconds: dict[str, float]
    error: float
    compile_seconds: float | None
    kernels: list[tuple[str, int, float]]

    def ratio(self, *opponents: str) -> float:
        """Time of the fastest of ``opponents`` over ours."""
        times = [self.seconds[kind] for kind in opponents if kind in self.seconds]
        return min(times) / self.seconds["dcc"]


def pruning_recipe(density: float) -> Recipe:
    """Keep ``density`` of each weight, 16 values; biases as they are."""
    settings = {"density": density, "bits": 4}
    return Recipe("pruned", settings, {"bias": {"density": None, "bits": None}})


def prepare(model: Path, options: argparse.Namespace, folder: Path) -> tuple[Path, float | None]:
    """Compile the model, or take the module that an earlier run left, and say how long it took."""
    module = folder / f"{model.stem}.so"
    source: Path = model
    if options.prune is not None:
        source = folder / f"{model.stem}.dcz"
        if not source.exists():
            dcc.compress(model, source, recipe=pruning_recipe(options.prune))
            dense = read(source).to_onnx().SerializeToString()
            (folder / f"{model.stem}.onnx").write_bytes(dense)
    if module.exists():
        return module, None
    begin = time.perf_counter()
    dcc.compile(source, module, storage=options.storage, shapes=SHAPES.get(model.stem))
    return module, time.perf_counter() - begin


def measure(model: Path, options: argparse.Namespace, folder: Path) -> Result:
    """Compile and time one model."""
    module, compile_seconds = prepare(model, options, folder)
    dense = model if options.prune is None else folder / f"{model.stem}.onnx"
    specs = [TensorSpec.from_json(spec) for spec in read_metadata(module)["inputs"]]
    inputs = folder / "inputs.npz"
    arrays = random_inputs(specs, options.seed, RANGES.get(model.stem))
    np.savez(inputs, **arrays)  # type: ignore[arg-type]
    processes: dict[str, Process] = {}
    outputs = {kind: folder / f"{kind}-outputs.npz" for kind in KINDS}
    for kind in KINDS:
        contender = Contender(kind, module if kind == "dcc" else dense)
        process = Process(contender, inputs, options.threads, outputs[kind])
        try:
            process.wait_until_ready()
        except RuntimeError as error:
            Console().print(f"[yellow]{error}[/]")
        else:
            processes[kind] = process
    latencies = take_turns(processes, options.rounds)
    for process in processes.values():
        process.close()
    seconds = {kind: latency.best for kind, latency in latencies.items()}
    error = difference(outputs["dcc"], outputs["onnxruntime"])
    kernels = profile(module, inputs) if options.profile else []
    return Result(model.stem, seconds, error, compile_seconds, kernels)


def difference(ours: Path, theirs: Path) -> float:
    """Largest error over the largest magnitude of each output."""
    worst = 0.0
    with np.load(ours) as one, np.load(theirs) as other:
        for name in other.files:
            expected = other[name].astype(np.float64)
            error = np.abs(one[name].reshape(expected.shape) - expected).max(initial=0.0)
            worst = max(worst, float(error / (np.abs(expected).max(initial=0.0) or 1.0)))
    return worst


def profile(module: Path, inputs: Path) -> list[tuple[str, int, float]]:
    """Profile one module: calls and seconds a run of each kernel, slowest first."""
    with np.load(inputs) as file:
        arrays = {name: file[name] for name in file.files}
    times: dict[str, list[float]] = defaultdict(list)
    for call in dcc.load(module).profile(arrays, repeats=30):
        times[call.name].append(call.seconds)
    rows = [(name, len(calls), sum(calls)) for name, calls in times.items()]
    return sorted(rows, key=lambda row: -row[2])


def print_results(results: list[Result]) -> None:
    """One line a model, times in milliseconds, and the means of the ratios."""
    console = Console(width=140)
    columns = (
        "model",
        "ms ORT",
        "ms OpenVINO",
        "ms dcc",
        "ORT/dcc",
        "best/dcc",
        "error",
        "compile",
    )
    table = Table(*columns)
    for result in results:
        times = [result.seconds.get(kind) for kind in KINDS]
        table.add_row(
            result.model[:42],
            *(f"{1e3 * t:.3f}" if t else "-" for t in times),
            f"{result.ratio('onnxruntime'):.2f}",
            f"{result.ratio('onnxruntime', 'openvino'):.2f}",
            f"{result.error:.1e}",
            "" if result.compile_seconds is None else f"{result.compile_seconds:.1f} s",
        )
    console.print(table)
    for opponents in (("onnxruntime",), ("onnxruntime", "openvino")):
        ratios = [result.ratio(*opponents) for result in results]
        mean, worst = geometric_mean(ratios), min(ratios)
        console.print(f"{' or '.join(opponents)} over dcc: mean {mean:.2f}, worst {worst:.2f}")
    for result in results:
        for name, calls, seconds in result.kernels[:12]:
            console.print(f"{result.model[:20]:20} {1e6 * seconds:9.1f} us {calls:3d} x {name}")


def main() -> None:
    """Measure the models and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="stems of files (or their beginnings)")
    parser.add_argument("--models", type=Path, required=True, help="folder of ONNX files")
    parser.add_argument("--prune", type=float, help="density of each weight, 0 to 1")
    parser.add_argument("--storage", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", action="store_true", help="time of our kernels")
    parser.add_argument("--compile-only", action="store_true", help="leave modules, time nothing")
    parser.add_argument("--modules", type=Path, help="keep modules there, and use those there are")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = str(options.threads)  # for the profile, in this process
    models = [
        path
        for path in sorted(options.models.glob("*.onnx"))
        if not options.names or any(path.stem.startswith(name) for name in options.names)
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = options.modules or Path(place)
        folder.mkdir(exist_ok=True)
        if options.compile_only:
            for model in models:
                print(model.stem, *prepare(model, options, folder)[1:], flush=True)
            return
        results = [measure(model, options, folder) for model in models]
    packages = {name: version(name) for name in ("apache-tvm", "onnxruntime", "openvino")}
    facts = machine_facts()
    print(f"{facts['processor']}, {options.threads} threads, seed {options.seed}, {packages}")
    print_results(results)
    if options.json is not None:
        chosen = {key: getattr(options, key) for key in ("prune", "storage", "threads", "seed")}
        record = {**chosen, "machine": facts, "packages": packages}
        rows = [asdict(result) for result in results]
        options.json.write_text(json.dumps({**record, "models": rows}, indent=1))


if __name__ == "__main__":
    main()
