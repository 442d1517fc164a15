"""What the commands print: tables, JSON files, progress, log lines."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dcc.files import atomic_write
from dcc.progress import listening

if TYPE_CHECKING:
    from rich.progress import Progress

_SECONDS_BETWEEN_LINES = 1.0
_WIDEST_LINE = 10_000


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1
) -> None:
    """Print a table; the first ``left`` columns and the last are aligned left, the others right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, name in enumerate(columns):
        number = left <= position < len(columns) - 1
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # A row is one line, whatever the width of the window: names are never cut, and a terminal
    # wraps what it cannot show.
    console = Console(width=_WIDEST_LINE, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    print(title)
    for line in captured.get().splitlines():
        print(line.rstrip())


def write_json(path: str | None, content: Any) -> None:
    """Write ``content`` to ``path`` if there is one.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    if path is None:
        return
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


@contextmanager
def shown_progress() -> Iterator[None]:
    """Show progress on standard error: a bar on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        with _bar() as bar, listening(_BarListener(bar)):
            yield
    else:
        with listening(_LineListener()):
            yield


def show_log(verbosity: int) -> None:
    """Print dcc's log on standard error: ``-v`` the reasons, ``-vv`` everything."""
    logger = logging.getLogger("dcc")
    logger.handlers = []  # those of an earlier command in this process: their stream may be closed
    logger.setLevel((logging.NOTSET, logging.INFO, logging.DEBUG)[min(verbosity, 2)])
    if verbosity:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)


def size_text(count: int | None) -> str:
    """Bytes with thousands separated."""
    return "" if count is None else f"{count:,}"


def time_text(seconds: float | None) -> str:
    """Milliseconds with three significant digits or more."""
    if seconds is None:
        return ""
    milliseconds = seconds * 1e3
    return f"{milliseconds:.1f}" if milliseconds >= 100 else f"{milliseconds:#.3g}"


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True)


class _BarListener:
    """One bar; work that goes through several stages changes its text."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._bar.update(self._task, description=stage, completed=done, total=total)


class _LineListener:
    """At most a line in so many seconds: quick work prints nothing."""

    def __init__(self) -> None:
        self._last: float | None = None  # what was imported before the first report is not its time

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        self._last = now if self._last is None else self._last
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            print(f"{stage}: {done} of {total}", file=sys.stderr, flush=True)
            self._last = now
