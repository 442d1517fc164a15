"""AlexNet, VGG-16 and SqueezeNet from dense random weights to a running module, step by step.

    python benchmarks/full_size.py [--networks vgg16 ...] [--folder FOLDER] [--json FILE]

Each step is the command that a user would type, in a process of its own, with its seconds and peak
memory. Weights are normally distributed; the recipe prunes and shares them at the densities and
bits of Deep Compression, Tables 4 and 5 (SqueezeNet: Iandola et al. 2016, Table 1). The ratio is
not to be compared with theirs weight for weight: trained weights have other codes than random
ones.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import onnx
import yaml
from networks import NETWORKS, gaussian_weight
from ratios import setting, setting_line, write_json
from rich.console import Console
from rich.table import Table

PAPER_RATIO = {"alexnet": 35, "vgg16": 49, "squeezenet": 10}
BITS = {
    "alexnet": {"Conv": 8, "Gemm": 5},
    "vgg16": {"Conv": 8, "Gemm": 5},
    "squeezenet": {"Conv": 6},
}
"""Bits of a code; the paper's 8 and 5, SqueezeNet's 6."""


def prepare(name: str, options: argparse.Namespace) -> tuple[Path, Path]:
    """Write the dense model and its recipe."""
    model, recipe = options.folder / f"{name}.onnx", options.folder / f"{name}.yaml"
    graph = NETWORKS[name](gaussian_weight, options.seed)
    if not model.exists():
        onnx.save(graph.model(), model)
    layers = {weight: {"density": case.density} for weight, case in graph.cases.items()}
    operators = {operator: {"bits": bits} for operator, bits in BITS[name].items()}
    settings = {
        "description": f"{name} at the densities and bits of its paper",
        "operators": operators,
        "layers": {re.escape(weight): settings for weight, settings in layers.items()},
    }
    recipe.write_text(yaml.safe_dump(settings, sort_keys=False))
    return model, recipe


def timed(step: str, *arguments: object) -> dict[str, Any]:
    """Run a command of dcc in a process of its own: seconds and peak memory."""
    started = time.monotonic()
    command = [sys.executable, "-m", "dcc", step, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"dcc {step} failed:\n{output}")
    seconds = time.monotonic() - started
    return {"step": step, "seconds": seconds, "peak_bytes": usage.ru_maxrss * 1024}


def prepared(name: str, options: argparse.Namespace) -> tuple[Path, Path]:
    """Do so in a process of its own: a child's peak memory counts what its parent held before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(prepare, name, options).result()


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Take one network through all steps."""
    model, recipe = prepared(name, options)
    container, module, result = (model.with_suffix(suffix) for suffix in (".dcz", ".so", ".json"))
    versus = ("--against", "onnxruntime", "--threads", options.threads)
    steps = [
        timed("compress", model, "-o", container, "--recipe", recipe),
        timed("compile", container, "-o", module, "--objective", options.objective),
        timed("run", module),
        timed("verify", module, container),
        timed("bench", module, container, *versus, "--json", result),
    ]
    contenders = json.loads(result.read_text())["contenders"]
    return {
        "network": name,
        "steps": steps,
        "bytes": {path.suffix: path.stat().st_size for path in (model, container, module)},
        "median_seconds": {row["kind"]: row["median_seconds"] for row in contenders},
    }


def print_tables(results: list[dict[str, Any]]) -> None:
    """Seconds and peak memory of each step; sizes and latencies."""
    steps = Table(title="seconds / peak MB of each step", title_justify="left", box=None)
    sizes = Table(title="sizes and latency", title_justify="left", box=None)
    for table in (steps, sizes):
        table.add_column("network")
    for step in results[0]["steps"]:
        steps.add_column(step["step"], justify="right")
    for column in ("ONNX MB", ".dcz MB", "ratio", "paper", ".so MB", "dcc ms", "ONNX Runtime ms"):
        sizes.add_column(column, justify="right")
    for result in results:
        cells = [
            f"{step['seconds']:.1f} / {step['peak_bytes'] / 1e6:,.0f}" for step in result["steps"]
        ]
        steps.add_row(result["network"], *cells)
        onnx_bytes, container, module = result["bytes"].values()
        median = result["median_seconds"]
        sizes.add_row(
            result["network"],
            f"{onnx_bytes / 1e6:.1f}",
            f"{container / 1e6:.2f}",
            f"{onnx_bytes / container:.1f}x",
            f"{PAPER_RATIO[result['network']]}x",
            f"{module / 1e6:.2f}",
            *(f"{1e3 * median[kind]:.1f}" for kind in ("dcc", "onnxruntime")),
        )
    for table in (steps, sizes):
        Console(width=120).print(table)


def main() -> None:
    """Parse the arguments, go through the steps, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--objective", choices=("latency", "size", "energy"), default="latency")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep models and modules here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = options.folder or Path(temporary)
        options.folder.mkdir(parents=True, exist_ok=True)
        results = [measure(name, options) for name in options.networks]
    facts = setting(options.threads, options.seed, objective=options.objective)
    print(setting_line(facts))
    print_tables(results)
    if options.json is not None:
        write_json(options.json, {**facts, "networks": results})


if __name__ == "__main__":
    main()
