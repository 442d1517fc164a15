"""``dcc inspect``, ``dcc recipes`` and ``dcc targets``."""

from __future__ import annotations

import click

from dcc.cli.options import common_options, json_option


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--stream", is_flag=True, help="Print the accelerator's instructions.")
@click.option("--layer", metavar="NAME", help="Only the streams of one operation.")
@click.option(
    "--timeline", metavar="FILE.svg", help="Draw when the instructions of one operation run."
)
@json_option
@common_options
def inspect(
    file: str, stream: bool, layer: str | None, timeline: str | None, json_file: str | None
) -> None:
    """Show what any of the files holds, by layer.

    FILE is an ONNX model, a .dcz container or a module.
    """
    import dcc
    from dcc.cli.console import write_json

    if stream or timeline is not None or layer is not None:
        _inspect_streams(file, layer, stream, timeline)
        return
    from dcc.cli.tables import print_report

    report = dcc.inspect(file)
    write_json(json_file, report.to_json())
    print_report(report)


def _inspect_streams(file: str, layer: str | None, stream: bool, timeline: str | None) -> None:
    """Disassemble the streams of a module, or draw the timeline of one."""
    from dcc.accelerator.report import select_operations, stream_lines, timeline_of
    from dcc.files import atomic_write

    operations = select_operations(file, layer)
    if stream or timeline is None:
        for line in stream_lines(operations):
            print(line)
    if timeline is not None:
        with atomic_write(timeline) as output:
            output.write(timeline_of(operations[0]).encode())


@click.command()
@json_option
@common_options
def recipes(json_file: str | None) -> None:
    """List the built-in recipes."""
    from dcc.cli.console import print_table, write_json
    from dcc.recipes import builtin_recipes

    found = builtin_recipes()
    write_json(
        json_file,
        {"recipes": [{"name": name, "description": text} for name, text in found.items()]},
    )
    print_table("recipes", ("name", "description"), list(found.items()))


@click.command()
@json_option
@common_options
def targets(json_file: str | None) -> None:
    """List the devices that a model can be compiled for."""
    from dcc.cli.console import print_table, write_json
    from dcc.targets.registry import list_targets

    found = list_targets()
    write_json(
        json_file,
        {
            "targets": [
                {**target.describe(), "description": target.description, "cores": target.cores}
                for target in found
            ]
        },
    )
    rows = [
        (target.name, str(target.vector_floats), str(target.cores), target.description)
        for target in found
    ]
    print_table("targets", ("name", "floats a vector", "cores", "description"), rows)
