"""What the machine leaves to gain: bytes and vector instructions of each layer at measured rates.

    python benchmarks/roofline.py RESULT.json [--json FILE]

``RESULT.json`` is what ``layers.py --folder FOLDER --json`` wrote at batch 1. Rates are those of
``calibration.c``, measured now with the same number of threads. For the sparse form in windows a
vector of entries takes a permute of the codebook, one of x and a multiplication (AVX2: two permutes
of each, for a register holds 8), padding counted; the gathers are what relative gaps would take
instead. The bound is the larger of
the time of the bytes and that of the instructions; a call costs some microseconds beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from layer_cases import LAYERS, STEP, Case, random_weight
from ratios import setting_line, write_json
from rich.console import Console
from rich.table import Table

from dcc.codegen.weight_matrix import WeightMatrix
from dcc.schedules.form_sizes import FormSizes
from dcc.targets.registry import get_target

TARGET = get_target("host")
LANES = TARGET.vector_floats
ENTRY_PERMUTES = 2 if LANES == 16 else 4
"""Of a vector of entries: the codebook and a window of x."""


@dataclass(frozen=True)
class Bound:
    """Seconds that a sparse layer takes at least, by what would limit it."""

    entries: int
    bytes: int
    traffic: float
    instructions: float
    gathers: float

    @property
    def seconds(self) -> float:
        """The larger of the bytes and the instructions."""
        return max(self.traffic, self.instructions)


def calibrate(threads: int) -> dict[str, float]:
    """Compile and run ``calibration.c``."""
    source = Path(__file__).with_name("calibration.c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "calibration"
        command = [os.environ.get("CC", "cc"), "-O3", "-march=native", source, "-o", program]
        subprocess.run([*command, "-lpthread"], check=True)
        done = subprocess.run([program, str(threads)], check=True, stdout=subprocess.PIPE)
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def bound(weight: WeightMatrix, rates: dict[str, float], last_level: int) -> Bound:
    """Count the entries and bytes of the sparse form in windows, and what they take."""
    sizes = FormSizes(weight, LANES, windowed={"sparse": 2 * LANES})
    entries, size = sizes.entries("sparse"), sizes.bytes_of("sparse")
    bandwidth = rates["cache_bytes" if size <= last_level else "memory_bytes"]
    vectors = entries / LANES
    instructions = vectors * (ENTRY_PERMUTES / rates["permutes"] + 1 / rates["multiplications"])
    gathers = sizes.kept / LANES / rates["gathers"]
    return Bound(entries, size, size / bandwidth, instructions, gathers)


def weight_of(case: Case, seed: int) -> WeightMatrix:
    """Return the weight of a case, rows being outputs."""
    levels = np.rint(random_weight(case, np.random.default_rng(seed)).T / STEP).astype(np.int8)
    half = case.levels // 2
    codes = np.where(levels == 0, 0, np.where(levels < 0, levels + half, levels + half - 1))
    codebook = STEP * np.array([0, *range(1 - half, 0), *range(1, half + 1)], np.float32)
    return WeightMatrix(codes=codes.astype(np.uint8), codebook=codebook, mask=levels != 0)


def print_table(bounds: dict[str, Bound], measured: dict[str, float]) -> None:
    """Microseconds."""
    table = Table(title="sparse layers, microseconds")
    for column in ("layer", "entries", "MB", "bytes", "instructions", "gathers", "bound"):
        table.add_column(column, justify="right")
    table.add_column("measured", justify="right")
    table.add_column("measured / bound", justify="right")
    for name, found in bounds.items():
        times = (found.traffic, found.instructions, found.gathers, found.seconds, measured[name])
        cells = [f"{1e6 * seconds:.1f}" for seconds in times]
        ratio = f"{measured[name] / found.seconds:.2f}"
        table.add_row(name, f"{found.entries:,}", f"{found.bytes / 1e6:.2f}", *cells, ratio)
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("result", type=Path, help="what layers.py --json wrote")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = json.loads(options.result.read_text())
    measured = {
        row["name"]: row["latencies"]["sparse"]["best"]
        for row in result["rows"]
        if "sparse" in row["latencies"]
    }
    rates = calibrate(result["threads"])
    print(setting_line(result))
    print(", ".join(f"{name} {rate:.3g} a second" for name, rate in rates.items()))
    last_level = TARGET.caches.last_level
    bounds = {}
    for index, case in enumerate(LAYERS):
        if case.name in measured:
            bounds[case.name] = bound(weight_of(case, result["seed"] + index), rates, last_level)
    print_table(bounds, measured)
    if options.json is not None:
        values = {name: asdict(found) for name, found in bounds.items()}
        write_json(options.json, {"rates": rates, "bounds": values})


if __name__ == "__main__":
    main()
