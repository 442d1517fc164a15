"""``dcc tune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcc.cli.compiling import STORAGE_FORMS
from dcc.cli.options import common_options, json_option, parse_shapes, precision_option

if TYPE_CHECKING:
    from dcc.tuning_report import TuningReport

INTERRUPTED = 130


@click.command("tune")
@click.argument("source", metavar="MODEL.onnx|MODEL.dcz")
@click.option("--database", required=True, metavar="DIR", help="Where the results are kept.")
@click.option("--target", default="host", show_default=True, help="Device; see 'dcc targets'.")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="Candidates of all layers together, those of earlier runs among them; shared out by the "
    "layers' shares of the model's time.  [default: 64 for each kind of layer]",
)
@click.option(
    "--trials-per-layer",
    type=click.IntRange(min=1),
    metavar="N",
    help="Candidates of one kind of layer at most.",
)
@click.option(
    "--recipe",
    metavar="NAME_OR_YAML",
    help="How to compress an ONNX model; a .dcz is compressed already.  [default: lossless]",
)
@click.option(
    "--storage",
    type=click.Choice(STORAGE_FORMS),
    default="auto",
    show_default=True,
    help="Search the schedules of one storage form only.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,3,224,224",
    help="Fix the shape of the input NAME (repeatable).",
)
@click.option(
    "--runner",
    type=click.Choice(("local", "rpc", "mca")),
    default="local",
    show_default=True,
    help="Where candidates run: here, on the devices of a tracker, or nowhere: mca estimates the "
    "cycles of an ARM core.",
)
@precision_option
@click.option("--tracker", metavar="HOST:PORT", help="TVM's RPC tracker, for --runner rpc.")
@click.option("--key", metavar="KEY", help="Key of the devices at the tracker.")
@click.option(
    "--time-limit", type=click.FloatRange(min=0), metavar="SECONDS", help="Finish after so long."
)
@click.option("--exhaustive", is_flag=True, help="Measure every candidate.")
@click.option("--seed", default=0, show_default=True, help="Of the search.")
@json_option
@common_options
def tune(
    source: str,
    database: str,
    target: str,
    trials: int | None,
    trials_per_layer: int | None,
    recipe: str | None,
    storage: str,
    shapes: tuple[str, ...],
    runner: str,
    precision: str,
    tracker: str | None,
    key: str | None,
    time_limit: float | None,
    exhaustive: bool,
    seed: int,
    json_file: str | None,
) -> int:
    """Search for faster schedules; 'dcc compile --database' builds them.

    Every candidate's answer is checked. Ctrl-C keeps what was found, and the same command goes on.
    """
    import dcc
    from dcc.cli.console import shown_progress, write_json

    fixed = parse_shapes(shapes)
    with shown_progress():
        report = dcc.tune(
            source,
            database,
            target,
            trials,
            recipe,
            storage,
            fixed,
            trials_per_layer=trials_per_layer,
            runner=runner,
            precision=precision,
            tracker=tracker,
            key=key,
            time_limit=time_limit,
            exhaustive=exhaustive,
            seed=seed,
        )
    write_json(json_file, report.to_json())
    print_tuning(report)
    return INTERRUPTED if report.stopped == "interrupted" else 0


def print_tuning(report: TuningReport) -> None:
    """Print a line for each kind of layer."""
    from dcc.cli.console import print_table, time_text

    rows = [
        (
            f"{layer.layers[0]}{f' and {len(layer.layers) - 1} more' * (len(layer.layers) > 1)}",
            time_text(layer.default_seconds),
            f"{layer.ratio:.2f}x",
            str(layer.trials),
            str(len(layer.failures)),
            layer.chosen if layer.confirmed else f"{layer.chosen} (not measured again)",
        )
        for layer in report.layers
    ]
    columns = ("layer", "default ms", "faster", "tried", "failed", "chosen")
    print_table(f"{report.database}: {len(rows)} kinds of layers", columns, rows)
    if report.stopped:
        print(f"stopped: {report.stopped}; the same command goes on")
