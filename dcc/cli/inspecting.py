"""``dcc inspect``, ``dcc recipes`` and ``dcc targets``."""

from __future__ import annotations

import click

from dcc.cli.options import common_options, json_option


@click.command()
@click.argument("file", metavar="FILE")
@json_option
@common_options
def inspect(file: str, json_file: str | None) -> None:
    """Show what any of the files holds, by layer.

    FILE is an ONNX model, a .dcz container or a module.
    """
    import dcc
    from dcc.cli.console import write_json
    from dcc.cli.tables import print_report

    report = dcc.inspect(file)
    write_json(json_file, report.to_json())
    print_report(report)


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
