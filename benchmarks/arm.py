"""Layers of pruned networks on an ARM core that is not here: estimates beside the dense ones.

    python benchmarks/arm.py [--target arm-cortex-a76] [--layers Alex-6 ...|all|none]
    python benchmarks/arm.py --layers none --convolutions all
    python benchmarks/arm.py --tune [--trials 12]

The time of a kernel is the larger of two: the cycles of its code by llvm-mca times how often each
part runs (counted under QEMU) over the clock, and all bytes that it reads and writes over the
bandwidth of main memory, for dense and compressed weights alike. One core, batch 1. The dense layer
is ours; ``memory`` says that its time is that of its bytes, below which no dense product comes.
Convolutions are the pointwise ones of MobileNet at 85 % zeros. Every answer is checked. ``--tune``
compares the default schedules with those that ``dcc tune --runner mca`` finds.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from layer_cases import LAYERS, Case, layer_model
from layers import select
from ratios import geometric_mean, write_json
from rich.console import Console
from rich.table import Table

import dcc
from dcc.estimation import ModelEstimate, estimate

POINTWISE = tuple(
    Case(f"{channels} -> {outputs}, {side} x {side}", (outputs, channels, 1, 1), 0.15, side)
    for channels, outputs, side in (
        (64, 128, 56),
        (128, 128, 56),
        (256, 256, 28),
        (512, 512, 14),
        (1024, 1024, 7),
    )
)
FORMS = ("sparse", "huffman")
TOLERANCE = 1e-5


def estimates(
    case: Case, options: argparse.Namespace, forms: tuple[str, ...], database: Path | None = None
) -> dict[str, ModelEstimate]:
    """Estimate a layer in some forms, and check what it answers."""
    number = [known.name for known in (*LAYERS, *POINTWISE)].index(case.name)
    model = layer_model(case, 1, options.seed + number)
    generator = np.random.default_rng(options.seed)
    x = generator.standard_normal(case.input_shape(1)).astype(np.float32)
    found = {
        form: estimate(model, {"x": x}, options.target, storage=form, database=database)
        for form in forms
    }
    (weight,) = (onnx.numpy_helper.to_array(each) for each in model.graph.initializer)
    expected = (
        np.einsum("oc,nchw->nohw", weight[:, :, 0, 0].astype(np.float64), x)
        if case.side
        else x.astype(np.float64) @ weight
    )
    for form, each in found.items():
        error = np.abs(each.outputs[0] - expected).max() / np.abs(expected).max()
        if not error <= TOLERANCE:
            raise SystemExit(f"{case.name}, {form}: wrong by {error:.1e} of the largest value")
    return found


def row_of(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Estimate the dense layer and the compressed ones."""
    found = estimates(case, options, ("dense", *FORMS))
    dense = found["dense"].nanoseconds
    (kernel,) = (each for _, each in found["dense"].kernels)
    bound = "memory" if kernel.memory >= kernel.arithmetic else "arithmetic"
    row: dict[str, Any] = {
        "layer": case.name,
        "density": case.density,
        "dense": dense,
        "bound": bound,
    }
    for form in FORMS:
        row[form] = found[form].nanoseconds
        row[f"dense/{form}"] = dense / row[form]
    return row


def print_rows(title: str, rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """Microseconds and ratios, and the geometric means of the ratios."""
    table = Table(title=title)
    for name in columns.values():
        table.add_column(name, justify="right" if name != "layer" else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(cell(key, row[key]) for key in columns))
    means = [
        f"{geometric_mean(row[key] for row in rows):.2f}" if "/" in key else "" for key in columns
    ]
    table.add_row("geometric mean", *means[1:])
    Console(width=150).print(table)


def cell(key: str, value: Any) -> str:
    """Format one value."""
    if isinstance(value, str):
        return value
    if key == "density":
        return f"{value:.0%}"
    return f"{value:.2f}" if "/" in key else f"{value / 1e3:.1f}"


def tuned_row(case: Case, form: str, options: argparse.Namespace) -> dict[str, Any]:
    """Tune one layer by estimates, and compare with the default schedule."""
    number = [known.name for known in LAYERS].index(case.name)
    database = options.folder / f"{case.name}-{form}"
    model = layer_model(case, 1, options.seed + number)
    dcc.tune(
        model,
        database,
        options.target,
        storage=form,
        runner="mca",
        trials_per_layer=options.trials,
        seed=options.seed,
    )
    default = estimates(case, options, (form,))[form].nanoseconds
    tuned = estimates(case, options, (form,), database)[form].nanoseconds
    return {
        "layer": f"{case.name}, {form}",
        "default": default,
        "tuned": tuned,
        "default/tuned": default / tuned,
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--target", default="arm-cortex-a76")
    parser.add_argument("--layers", nargs="+", default=["all"], help="names, all or none")
    parser.add_argument("--convolutions", nargs="+", default=["none"], help="names, all or none")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--forms", nargs="+", default=["sparse"], help="to tune")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep tuning databases here")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Estimate what was asked for."""
    record: dict[str, Any] = {"target": options.target, "seed": options.seed}
    layers = select(options.layers, LAYERS)
    columns = {"layer": "layer", "density": "density", "dense": "dense us", "bound": "bound by"}
    for form in FORMS:
        columns |= {form: f"{form} us", f"dense/{form}": f"dense / {form}"}
    if options.tune:
        columns = {"layer": "layer", "default": "default us", "tuned": "tuned us"}
        columns |= {"default/tuned": "default / tuned"}
        record["tuned"] = [
            tuned_row(case, form, options) for case in layers for form in options.forms
        ]
        print_rows(f"tuned by estimates for {options.target}", record["tuned"], columns)
    else:
        for name, cases in (
            ("layers", layers),
            ("pointwise", select(options.convolutions, POINTWISE)),
        ):
            if cases:
                record[name] = [row_of(case, options) for case in cases]
                print_rows(f"{name}, estimates for {options.target}", record[name], columns)
    if options.json is not None:
        write_json(options.json, record)


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as place:
        options.folder = options.folder or Path(place)
        options.folder.mkdir(parents=True, exist_ok=True)
        run(options)


if __name__ == "__main__":
    main()
