"""Memory that VGG-16 takes: ours with coded weights beside ONNX Runtime with dense ones.

    python benchmarks/memory.py [--threads 2] [--forms huffman] [--folder FOLDER] [--json FILE]

Each contender in a fresh process, its libraries loaded: the resident size before the model is
loaded, after ten runs, and the highest of it in between. Weights are random, at the densities of
Deep Compression, Table 5. Activations, work space and code count.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

RUNS = 10
LIBRARIES = {"dcc": "dcc.runtime", "onnxruntime": "onnxruntime", "openvino": "openvino"}


def status(field: str) -> int:
    """Bytes of a field of this process's status: VmRSS, VmHWM (its highest), RssFile..."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def child(kind: str, path: str, threads: int) -> None:
    """Load and run one contender and print its sizes as JSON."""
    __import__(LIBRARIES[kind])
    if kind == "dcc":
        from dcc.tvm_library import load_runtime_library

        load_runtime_library()
    from contender_process import CALLS

    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is the present one
    run = CALLS[kind](path, {"x": x}, threads)
    loaded = status("VmRSS")
    for _ in range(RUNS):
        run()
    after = {"resident": status("VmRSS"), "peak": status("VmHWM"), "file": status("RssFile")}
    print(json.dumps({"before": before, "loaded": loaded, **after}))


def ask(kind: str, path: Path, threads: int) -> dict[str, int]:
    """Run one contender in a fresh process."""
    limits = dict.fromkeys(("TVM_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    done = subprocess.run(
        [sys.executable, __file__, "--child", kind, path, "--threads", str(threads)],
        env=os.environ | limits,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    sizes: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return sizes


def growth(sizes: dict[str, int], field: str) -> int:
    """Bytes above those before the model was loaded."""
    return sizes[field] - sizes["before"]


def print_table(results: dict[str, dict[str, int]]) -> None:
    """Megabytes, and the growth over that of ONNX Runtime."""
    table = Table("contender", "MB before", "resident", "peak", "growth / ONNX Runtime", "peak")
    reference = results["ONNX Runtime"]
    for name, sizes in results.items():
        megabytes = [sizes["before"], growth(sizes, "resident"), growth(sizes, "peak")]
        ratios = [growth(sizes, f) / growth(reference, f) for f in ("resident", "peak")]
        cells = [f"{size / 1e6:.1f}" for size in megabytes] + [f"{ratio:.1%}" for ratio in ratios]
        table.add_row(name, *cells)
    Console(width=110).print(table)


def prepare(options: argparse.Namespace) -> dict[str, tuple[str, Path]]:
    """Make the model and its modules, but for what is there."""
    import onnx
    from layer_cases import random_weight
    from networks import vgg16

    import dcc

    dense = options.folder / "vgg16.onnx"
    if not dense.exists():
        onnx.save(vgg16(random_weight, options.seed).model(), dense)
    contenders = {"ONNX Runtime": ("onnxruntime", dense)}
    for form in options.forms:
        module = options.folder / f"vgg16-{form}.so"
        if options.prepare or not module.exists():
            dcc.compile(dense, module, storage=form)
        contenders[form] = ("dcc", module)
    return contenders


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--forms", nargs="+", default=["huffman"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep model and modules here")
    parser.add_argument("--prepare", action="store_true", help="make model and modules, and stop")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("KIND", "PATH"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.child:
        child(*options.child, options.threads)
        return
    from ratios import setting, setting_line, write_json

    with tempfile.TemporaryDirectory() as place:
        options.folder = options.folder or Path(place)
        contenders = prepare(options)
        if options.prepare:
            return
        results = {name: ask(*contender, options.threads) for name, contender in contenders.items()}
    facts: dict[str, Any] = setting(options.threads, options.seed, runs=RUNS)
    print(setting_line(facts))
    print_table(results)
    if options.json is not None:
        write_json(options.json, {**facts, "bytes": results})


if __name__ == "__main__":
    main()
