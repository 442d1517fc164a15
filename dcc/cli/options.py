"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dcc.cli.console import show_log
from dcc.errors import InputError
from dcc.files import check_writable

if TYPE_CHECKING:
    import numpy as np

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Settings:
    """Set by flags that any command takes; read when something fails."""

    debug: bool = False
    verbosity: int = 0


def common_options(command: Command) -> Command:
    """Add ``--debug`` and ``-v``, which every command takes."""
    debug = click.option(
        "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show tracebacks."
    )
    verbose = click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=_set_verbosity,
        help="Say why each layer is stored as it is; -vv says more.",
    )
    return verbose(debug(command))


def json_option(command: Command) -> Command:
    """Add ``--json FILE``."""
    return click.option(
        "--json",
        "json_file",
        metavar="FILE",
        callback=writable,
        help="Write the table to FILE as JSON.",
    )(command)


def output_option(metavar: str, text: str) -> Callable[[Command], Command]:
    """Add ``-o FILE``, which has to be given; ``text`` says what is written there."""
    return click.option(
        "-o", "--output", required=True, metavar=metavar, callback=writable, help=text
    )


def writable(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a file that cannot be written before any work is done: a callback of options."""
    if value is not None:
        check_writable(value)
    return value


def precision_option(command: Command) -> Command:
    """Add ``--precision``."""
    return click.option(
        "--precision",
        type=click.Choice(("fp32", "fp16")),
        default="fp32",
        show_default=True,
        help="What products and convolutions read; sums are fp32. fp16 is for cards.",
    )(command)


def seed_option(command: Command) -> Command:
    """Add ``--seed N``."""
    return click.option("--seed", default=0, show_default=True, help="Of the random inputs.")(
        command
    )


def driver_option(command: Command) -> Command:
    """Add ``--vta-driver LIB.so``."""
    return click.option(
        "--vta-driver",
        "driver",
        metavar="LIB.so",
        help="Library with VTA's driver functions, for modules of VTA.  [default: simulated]",
    )(command)


def range_option(command: Command) -> Command:
    """Add ``--range NAME=LOW:HIGH``."""
    return click.option(
        "--range",
        "ranges",
        multiple=True,
        metavar="NAME=LOW:HIGH",
        callback=lambda _context, _parameter, values: parse_ranges(values),
        help="Random values of the input NAME (repeatable). Default: standard normal; integers 0.",
    )(command)


def place_options(command: Command) -> Command:
    """Add ``--emulate`` and ``--rpc HOST:PORT``: where a module runs."""
    emulate = click.option(
        "--emulate",
        is_flag=True,
        help="Run a module for another processor under QEMU.",
    )
    rpc = click.option("--rpc", metavar="HOST:PORT", help="Run on a device with TVM's RPC server.")
    return emulate(rpc(command))


def parse_shapes(values: tuple[str, ...]) -> dict[str, tuple[int, ...]] | None:
    """Read ``NAME=1,3,224,224`` from each value; a scalar is ``NAME=``.

    Raises
    ------
    InputError
        A value has another form.
    """
    shapes = {}
    for value in values:
        name, separator, text = value.rpartition("=")
        sizes = [size.strip() for size in text.split(",")] if text.strip() else []
        if not (name and separator and all(size.isdecimal() for size in sizes)):
            raise InputError(f"--shape {value}: expected NAME=1,3,224,224 (an input and its sizes)")
        shapes[name] = tuple(int(size) for size in sizes)
    return shapes or None


def parse_ranges(values: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Read ``NAME=LOW:HIGH`` from each value.

    Raises
    ------
    InputError
        A value has another form.
    """
    ranges = {}
    for value in values:
        name, _, text = value.rpartition("=")
        try:
            low, high = (float(end) for end in text.split(":"))
        except ValueError:
            name = ""
        if not name:
            raise InputError(f"--range {value}: expected NAME=LOW:HIGH, two numbers")
        ranges[name] = (low, high)
    return ranges


def read_inputs(path: str | None) -> dict[str, np.ndarray] | None:
    """Read ``--input FILE.npz``, if it is given."""
    if path is None:
        return None
    from dcc.datasets import read_arrays

    return read_arrays(path)


def _set_debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(Settings).debug |= value


def _set_verbosity(context: click.Context, _parameter: click.Parameter, value: int) -> None:
    settings = context.ensure_object(Settings)
    settings.verbosity = max(settings.verbosity, value)
    show_log(settings.verbosity)
