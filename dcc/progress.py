"""Progress of long work, from the functions that do it to whoever wants to show it.

The work says ``for layer in track("compressing", layers)``; the command line listens and draws a
bar or prints lines. Nobody has to listen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Listener = Callable[[str, int, int], None]
"""Called with the stage, the number of steps done and their total."""

_listener: ContextVar[Listener | None] = ContextVar("dcc_progress_listener", default=None)


def report(stage: str, done: int, total: int) -> None:
    """Tell the listener, if there is one, that ``done`` of ``total`` steps are done."""
    listener = _listener.get()
    if listener is not None:
        listener(stage, done, total)


def track(stage: str, items: Sequence[Item]) -> Iterator[Item]:
    """Iterate over ``items`` and report each when it is done."""
    report(stage, 0, len(items))
    for done, item in enumerate(items, start=1):
        yield item
        report(stage, done, len(items))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send the reports of the enclosed work to ``listener``."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
