"""``dcc report``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcc.cli.compiling import OBJECTIVES
from dcc.cli.options import (
    common_options,
    json_option,
    parse_shapes,
    range_option,
    seed_option,
)

if TYPE_CHECKING:
    from dcc.reporting.facts import CompressionReport


@click.command()
@click.argument("model", metavar="MODEL.onnx|MODEL.dcz")
@click.option("-o", "--output", required=True, metavar="OUT.html", help="The page to write.")
@click.option(
    "--recipe",
    metavar="NAME_OR_YAML",
    help="How to compress an ONNX model; a .dcz is compressed already.  "
    "[default: deep-compression]",
)
@click.option(
    "--targets",
    default="host",
    show_default=True,
    metavar="LIST",
    help="Devices to compile for, separated by commas; see 'dcc targets'.",
)
@click.option(
    "--data",
    metavar="FILE.npz|FOLDER",
    help="Labelled data for accuracies: an .npz with x and y (or x_test and y_test), or a folder "
    "of IDX files.",
)
@click.option(
    "--scale",
    type=float,
    help="Divide the samples by this number.  [default: 256 for IDX files, else 1]",
)
@click.option(
    "--samples", type=click.IntRange(min=1), help="Samples to measure accuracy on.  [default: all]"
)
@click.option(
    "--compare",
    default="",
    metavar="LIST",
    help="Other recipes to measure beside this one, separated by commas.",
)
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="latency",
    show_default=True,
    help="What the forms are chosen for.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,3,224,224",
    help="Fix the shape of the input NAME (repeatable).",
)
@click.option("--database", metavar="DIR", help="Tuning records to build from; see 'dcc tune'.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Of what is measured here.  [default: the processors there are]",
)
@range_option
@seed_option
@json_option
@common_options
def report(
    model: str,
    output: str,
    recipe: str | None,
    targets: str,
    data: str | None,
    scale: float | None,
    samples: int | None,
    compare: str,
    objective: str,
    shapes: tuple[str, ...],
    database: str | None,
    threads: int | None,
    ranges: dict[str, tuple[float, float]],
    seed: int,
    json_file: str | None,
) -> None:
    """Show on one page what a recipe makes of a model.

    Bytes by part and stage, density and codes, time and energy proxies by layer and storage form on
    each target, size against accuracy. The page is one file that loads nothing.
    """
    import dcc
    from dcc.cli.console import shown_progress

    with shown_progress():
        result = dcc.report(
            model,
            output,
            recipe,
            _names(targets),
            data,
            json_output=json_file,
            compare=_names(compare),
            scale=scale,
            samples=samples,
            shapes=parse_shapes(shapes),
            objective=objective,
            database=database,
            threads=threads,
            ranges=ranges,
            seed=seed,
        )
    print_summary(output, result)


def _names(text: str) -> list[str]:
    """Split a list at its commas; what is there twice counts once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def print_summary(output: str, result: CompressionReport) -> None:
    """Print the figures at the top of the page."""
    from dcc.cli.console import print_table
    from dcc.reporting.overview import overview

    rows = [(figure.label, figure.value, figure.detail) for figure in overview(result)]
    print_table(f"{output}: {result.provenance.model}", ("", "", ""), rows)
