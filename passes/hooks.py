"""Passes of other packages, run at named points of the pipeline.

    from dcc.passes import hooks
    hooks.register("after_sharing", lambda context: MyPass(context.table))

or, without touching dcc's process, an entry point in the group ``dcc.passes`` of an installed
package, whose name is ``<point>`` or ``<point>.<anything>`` and whose value is such a factory:

    [project.entry-points."dcc.passes"]
    "after_rewrite.mine" = "my_package.passes:make_my_pass"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias, get_args

from dcc.errors import CompileError
from dcc.passes.weight_table import WeightTable

Point = Literal[
    "after_import",
    "after_masks",
    "after_sharing",
    "after_rewrite",
    "after_selection",
    "after_legalize",
]
POINTS: tuple[Point, ...] = get_args(Point)
GROUP = "dcc.passes"


@dataclass(frozen=True)
class HookContext:
    """What a factory may use.

    Attributes
    ----------
    point
        Where the pass is about to run.
    table
        Values of the module's weight parameters.
    target
        Device of the compilation; None while compressing.
    """

    point: str
    table: WeightTable
    target: Any = None


Factory: TypeAlias = Callable[[HookContext], Any]
_registered: dict[str, list[Factory]] = {}


def _checked(point: str, origin: str) -> Point:
    if point not in POINTS:
        raise CompileError(
            f"{origin}: the pipeline has no point '{point}', expected one of {', '.join(POINTS)}"
        )
    return point


def register(point: str, factory: Factory) -> None:
    """Run the pass that ``factory(context)`` returns at ``point`` of every pipeline from now on.

    Raises
    ------
    CompileError
        There is no such point.
    """
    _registered.setdefault(_checked(point, "register"), []).append(factory)


def unregister(point: str, factory: Factory) -> None:
    """Undo :func:`register`."""
    _registered[_checked(point, "unregister")].remove(factory)


@contextmanager
def registered(point: str, factory: Factory) -> Iterator[None]:
    """Register ``factory`` for the length of a ``with`` block."""
    register(point, factory)
    try:
        yield
    finally:
        unregister(point, factory)


def _load(entry: EntryPoint, origin: str) -> Factory:
    try:
        factory: Factory = entry.load()
    except Exception as error:
        raise CompileError(
            f"{origin} cannot be loaded: {error}; mend or uninstall the package that has it"
        ) from error
    return factory


def passes_at(context: HookContext) -> list[Any]:
    """Make the passes for one point.

    Those of entry points come first, by name; then those of :func:`register`, in order.

    Raises
    ------
    CompileError
        An entry point names no point of the pipeline, or cannot be loaded.
    """
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        origin = f"entry point '{entry.name}' of {entry.value}"
        if _checked(entry.name.partition(".")[0], origin) == context.point:
            found.append(_load(entry, origin))
    return [factory(context) for factory in [*found, *_registered.get(context.point, [])]]
