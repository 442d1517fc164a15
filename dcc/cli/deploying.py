"""``dcc deploy``."""

from __future__ import annotations

import click

from dcc.cli.options import common_options, json_option


@click.command()
@click.argument("module", metavar="OUT.so")
@click.option("-o", "--output", required=True, metavar="DIR", help="The folder to write.")
@click.option(
    "--fetch-runtime",
    is_flag=True,
    help="Take TVM's runtime libraries from the wheels for the device, by pip.",
)
@click.option("--runtime", metavar="DIR", help="Folder with TVM's runtime libraries.")
@json_option
@common_options
def deploy(
    module: str, output: str, fetch_runtime: bool, runtime: str | None, json_file: str | None
) -> None:
    """Write what a device needs to run a module: libraries, a runner, a page."""
    from dcc.cli.console import print_table, write_json
    from dcc.deployment import deploy as write_folder

    result = write_folder(module, output, fetch_runtime=fetch_runtime, runtime=runtime)
    write_json(json_file, {"files": result.files, "notes": result.notes})
    rows = [(name, f"{size:,}") for name, size in result.files.items()]
    print_table(str(result.folder), ("file", "bytes"), rows)
    for note in result.notes:
        print(note)
