"""``dcc compress`` and ``dcc decompress``."""

from __future__ import annotations

import click

from dcc.cli.options import common_options, json_option, parse_shapes


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@click.option("-o", "--output", required=True, metavar="OUT.dcz", help="The container to write.")
@click.option(
    "--recipe",
    default="lossless",
    show_default=True,
    metavar="NAME_OR_YAML",
    help="How to compress; see 'dcc recipes'.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,3,224,224",
    help="Fix the shape of the input NAME for the passes (repeatable).",
)
@click.option("--dump", metavar="DIR", help="Write the IR after each pass into DIR.")
@json_option
@common_options
def compress(
    model: str,
    output: str,
    recipe: str,
    shapes: tuple[str, ...],
    dump: str | None,
    json_file: str | None,
) -> None:
    """Compress a model into a container."""
    import dcc
    from dcc.cli.console import shown_progress, write_json
    from dcc.cli.tables import print_report

    fixed = parse_shapes(shapes)
    with shown_progress():
        dcc.compress(model, output, recipe=recipe, shapes=fixed or None, dump=dump)
    report = dcc.inspect(output)
    write_json(json_file, report.to_json())
    print_report(report)


@click.command()
@click.argument("container", metavar="IN.dcz")
@click.option("-o", "--output", required=True, metavar="OUT.onnx", help="The ONNX file to write.")
@common_options
def decompress(container: str, output: str) -> None:
    """Turn a container back into a plain ONNX file."""
    from pathlib import Path

    import dcc

    dcc.decompress(container, output)
    print(f"{output}: {Path(output).stat().st_size:,} bytes")
