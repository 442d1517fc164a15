"""``dcc compile``."""

from __future__ import annotations

import click

from dcc.cli.options import (
    common_options,
    json_option,
    output_option,
    parse_shapes,
    precision_option,
)

STORAGE_FORMS = ("auto", "dense", "codebook", "sparse", "huffman", "blocks")
OBJECTIVES = ("latency", "size", "energy")


@click.command("compile")
@click.argument("source", metavar="MODEL.onnx|MODEL.dcz")
@output_option("OUT.so", "The module to write.")
@click.option("--target", default="host", show_default=True, help="Device; see 'dcc targets'.")
@click.option(
    "--recipe",
    metavar="NAME_OR_YAML",
    help="How to compress an ONNX model; a .dcz is compressed already.  [default: lossless]",
)
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="latency",
    show_default=True,
    help="What 'auto' optimises.",
)
@click.option(
    "--storage",
    type=click.Choice(STORAGE_FORMS),
    default="auto",
    show_default=True,
    help="Form of the weights in memory; 'auto' chooses by layer, 'blocks' is for accelerators.",
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
    "--calibrate",
    metavar="FILE.npz",
    help="Inputs by name (or x) that an accelerator's scales are chosen for.  [default: random]",
)
@precision_option
@click.option("--dump", metavar="DIR", help="Write the IR after each pass into DIR.")
@json_option
@common_options
def compile_(
    source: str,
    output: str,
    target: str,
    recipe: str | None,
    objective: str,
    storage: str,
    shapes: tuple[str, ...],
    database: str | None,
    calibrate: str | None,
    precision: str,
    dump: str | None,
    json_file: str | None,
) -> None:
    """Compile a model or container into a module."""
    import dcc
    from dcc.cli.console import shown_progress, write_json
    from dcc.cli.tables import print_report

    fixed = parse_shapes(shapes)
    with shown_progress():
        dcc.compile(
            source,
            output,
            target=target,
            recipe=recipe,
            storage=storage,
            objective=objective,
            shapes=fixed,
            database=database,
            calibrate=calibrate,
            precision=precision,
            dump=dump,
        )
    report = dcc.inspect(output)
    write_json(json_file, report.to_json())
    print_report(report)
