"""What tuning gains over the default schedules, and what XGBoost gains over drawing at random.

    python benchmarks/tuning.py tuned   [--layers Alex-6 ...] [--trials 64] [--storage sparse]
    python benchmarks/tuning.py sweep   [--layers NT-We ...] [--storage sparse] [--seeds 5]

``tuned`` tunes each layer, then runs the module that ``compile`` builds from the records beside the
default one, in turn. ``sweep`` measures every candidate of a layer once, compares the default with
the best, and replays the search over that table: how many trials until one is within 5 % of the
best. ``--folder`` keeps models, databases and tables; what is there is not measured again.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import onnx
from alternation import Contender, alternate
from layer_cases import LAYERS, layer_model
from ratios import geometric_mean, setting, setting_line, write_json
from rich.console import Console
from rich.table import Table

import dcc
from dcc.schedules.tuning.measurements import Measurements
from dcc.schedules.tuning.replay import trials_to_reach
from dcc.schedules.tuning.workers import Limits
from dcc.targets.registry import get_target
from dcc.tuning import model_tasks, search_task

SWEPT = ("Alex-8", "NT-We", "NT-LSTM")
"""Small enough to measure a whole space in minutes."""
SWEPT_BLOCKS = 25
"""Of 20 ms for each candidate: neighbours in the table differ by less than a busy machine does."""


def model_of(name: str, options: argparse.Namespace) -> Path:
    """Write the layer's model, unless it is there."""
    number = [case.name for case in LAYERS].index(name)
    path = options.folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(layer_model(LAYERS[number], 1, options.seed + number), path)
    return path


def tuned_row(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Tune one layer, compile it twice, and run both modules in turn."""
    model = model_of(name, options)
    database = options.folder / f"{name}-{options.storage}"
    report = dcc.tune(
        model,
        database,
        storage=options.storage,
        trials_per_layer=options.trials,
        seed=options.seed,
    )
    (layer,) = report.layers
    modules = {"default": None, "tuned": database}
    contenders = {}
    for kind, records in modules.items():
        path = options.folder / f"{name}-{options.storage}-{kind}.so"
        dcc.compile(model, path, storage=options.storage, database=records)
        contenders[kind] = Contender("dcc", path)
    case = next(case for case in LAYERS if case.name == name)
    shape = case.input_shape(1)
    x = np.random.default_rng(options.seed).standard_normal(shape).astype(np.float32)
    latencies = alternate(contenders, {"x": x}, options.threads, options.rounds)
    ratio = latencies["default"].best / latencies["tuned"].best
    return {
        "layer": name,
        "default ms": round(1e3 * latencies["default"].best, 4),
        "tuned ms": round(1e3 * latencies["tuned"].best, 4),
        "ratio": round(ratio, 3),
        "tried": layer.trials,
        "seconds": round(report.seconds, 1),
        "chosen": layer.chosen,
    }


def sweep_row(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Measure a space whole, and replay both searches over it."""
    model = model_of(name, options)
    database = options.folder / f"{name}-{options.storage}-sweep"
    limits = Limits(repeats=SWEPT_BLOCKS)
    dcc.tune(
        model,
        database,
        storage=options.storage,
        exhaustive=True,
        seed=options.seed,
        limits=limits,
    )
    table = Measurements(database / "measurements.jsonl")
    target = get_target("host")
    (layer,) = model_tasks(model, target)
    task = search_task(layer, target, options.storage)
    measured = table.of_layer(task.key)
    best = min(measured, key=lambda candidate: measured[candidate].median)
    trials = {
        guided: [
            trials_to_reach(task, table, guided=guided, seed=seed) for seed in range(options.seeds)
        ]
        for guided in (True, False)
    }
    default = measured[task.space.default].median
    return {
        "layer": name,
        "candidates": len(measured),
        "failed": sum(each.failure is not None for each in measured.values()),
        "default ms": round(1e3 * default, 4),
        "best ms": round(1e3 * measured[best].median, 4),
        "default / best": round(default / measured[best].median, 3),
        "XGBoost": statistics.median(trials[True]),
        "random": statistics.median(trials[False]),
        "best candidate": str(best),
    }


def print_rows(title: str, rows: list[dict[str, object]]) -> None:
    """Print rows of one shape."""
    table = Table(title=title, title_justify="left", box=None)
    for name in rows[0]:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=200).print(table)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("what", choices=("tuned", "sweep"))
    parser.add_argument("--layers", nargs="+", default=None)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--storage", default="sparse")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = options.folder or Path(temporary)
        options.folder.mkdir(parents=True, exist_ok=True)
        every = SWEPT if options.what == "sweep" else [case.name for case in LAYERS]
        measure = sweep_row if options.what == "sweep" else tuned_row
        rows = [measure(name, options) for name in options.layers or every]
    facts = setting(options.threads, options.seed, storage=options.storage, trials=options.trials)
    print_rows(setting_line(facts), rows)
    if options.what == "tuned":
        ratios = [float(str(row["ratio"])) for row in rows]
        print(f"default / tuned: geometric mean {geometric_mean(ratios):.3f}, least {min(ratios)}")
    if options.json is not None:
        write_json(options.json, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
