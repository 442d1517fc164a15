"""``dcc deploy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcc.cli.compiling import OBJECTIVES, STORAGE_FORMS
from dcc.cli.options import common_options, json_option, parse_shapes
from dcc.errors import InputError

if TYPE_CHECKING:
    from dcc.standalone import Standalone


@click.command()
@click.argument("model", metavar="OUT.so|MODEL.onnx|MODEL.dcz")
@click.option("-o", "--output", required=True, metavar="DIR", help="The folder to write.")
@click.option(
    "--fetch-runtime",
    is_flag=True,
    help="Take TVM's runtime libraries from the wheels for the device, by pip.",
)
@click.option("--runtime", metavar="DIR", help="Folder with TVM's runtime libraries.")
@click.option(
    "--standalone",
    is_flag=True,
    help="Compile a model or container into a static library with a C header, without a runtime.",
)
@click.option("--target", help="With --standalone: the device.  [default: host]")
@click.option("--recipe", metavar="NAME_OR_YAML", help="With --standalone: as of 'dcc compile'.")
@click.option("--storage", type=click.Choice(STORAGE_FORMS), help="With --standalone.")
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    help="With --standalone: what 'auto' optimises.  [default: size]",
)
@click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=1,3,224,224", help="With --standalone."
)
@click.option("--name", help="With --standalone: prefix of all symbols.  [default: the model's]")
@json_option
@common_options
def deploy(
    model: str,
    output: str,
    fetch_runtime: bool,
    runtime: str | None,
    standalone: bool,
    json_file: str | None,
    **compiling: str | tuple[str, ...] | None,
) -> None:
    """Write what a device needs to run a module: libraries, a runner, a page.

    With --standalone, a static library with the kernels and the weights instead.
    """
    given = {key: value for key, value in compiling.items() if value}
    if standalone:
        if fetch_runtime or runtime is not None:
            raise InputError("--standalone needs no runtime: leave out --fetch-runtime, --runtime")
        _standalone(model, output, given, json_file)
        return
    if given:
        option = next(iter(given)).removesuffix("s")
        raise InputError(f"--{option} goes with --standalone; a module is compiled already")
    from dcc.cli.console import print_table, write_json
    from dcc.deployment import deploy as write_folder

    result = write_folder(model, output, fetch_runtime=fetch_runtime, runtime=runtime)
    write_json(json_file, {"files": result.files, "notes": result.notes})
    rows = [(name, f"{size:,}") for name, size in result.files.items()]
    print_table(str(result.folder), ("file", "bytes"), rows)
    for note in result.notes:
        print(note)


def _standalone(
    model: str, output: str, given: dict[str, str | tuple[str, ...]], json_file: str | None
) -> None:
    from dcc.cli.console import shown_progress, write_json
    from dcc.standalone import deploy_standalone

    options = {key: value for key, value in given.items() if key != "shapes"}
    shapes = parse_shapes(tuple(given.get("shapes", ())))
    with shown_progress():
        result = deploy_standalone(model, output, shapes=shapes, **options)  # type: ignore[arg-type]
    write_json(json_file, result.to_json())
    print_standalone(result)


def print_standalone(result: Standalone) -> None:
    """Print what the library takes on a device."""
    from dcc.cli.console import print_table

    rows = [
        ("code", result.code),
        ("weights and other read-only data", result.read_only),
        ("workspace, given by the caller", result.workspace),
    ]
    title = f"{result.folder}: {', '.join(result.files)}"
    print_table(title, ("memory", "bytes"), [(name, f"{size:,}") for name, size in rows])
    print(f"largest sum of temporary tensors at one time: {result.activations:,} bytes")
