"""Decisions by name: what a tuner draws, and what a database keeps."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from dcc.codegen.packing import Packing
from dcc.schedules.cuda.sizes import BlockSizes
from dcc.schedules.tunable import Case, Value, Values
from dcc.schedules.tunables import Tunables, conflicts_of, default_tunables, tunables_of

OF_PACKING = frozenset(field.name for field in fields(Packing))
OF_SIZES = frozenset(field.name for field in fields(BlockSizes))
OF_LOOPS = frozenset(field.name for field in fields(Tunables)) - {"packing", "sizes"}
OF_KERNEL = OF_LOOPS | OF_SIZES
FLAGS = frozenset(field.name for field in fields(Packing) if field.type == "bool")


def choices(case: Case) -> dict[str, tuple[Value, ...]]:
    """List the values of each tunable that has several in this case, the default first."""
    default = default_values(case)
    found = {}
    for tunable in tunables_of(case.target):
        first = default[tunable.name]
        others = [value for value in tunable.choices(case) if value != first]
        if others:
            found[tunable.name] = (first, *others)
    return found


def conflict(case: Case, default: Values, values: Values) -> str | None:
    """Why ``values``, and the ``default`` of the rest, do not go together; None where they do."""
    every = {**default, **values}
    if every == default:
        return None  # whatever the rules say, the default schedule is built
    return next((reason for reason, rule in conflicts_of(case.target) if rule(case, every)), None)


def default_values(case: Case) -> dict[str, Value]:
    """Return every decision of the default schedule by name."""
    return values_of(default_tunables(case.shape, case.form, case.target, case.weight))


def values_of(tunables: Tunables) -> dict[str, Value]:
    """Return every decision by name; flags are 0 and 1."""
    found = {name: getattr(tunables.packing, name) for name in OF_PACKING}
    found |= {name: getattr(tunables, name) for name in OF_LOOPS}
    found |= {name: getattr(tunables.sizes, name) for name in OF_SIZES}
    return {name: int(v) if isinstance(v, bool) else v for name, v in found.items()}


def with_values(tunables: Tunables, values: Values) -> Tunables:
    """Replace decisions by name.

    Raises
    ------
    KeyError
        There is no such tunable.
    """
    unknown = sorted(values.keys() - OF_PACKING - OF_KERNEL)
    if unknown:
        known = ", ".join(sorted(OF_PACKING | OF_KERNEL))
        raise KeyError(f"there is no tunable {', '.join(unknown)}; known: {known}")
    given: dict[str, Any] = {n: bool(v) if n in FLAGS else v for n, v in values.items()}

    def of(names: frozenset[str]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if name in names}

    packing = replace(tunables.packing, **of(OF_PACKING))
    sizes = replace(tunables.sizes, **of(OF_SIZES))
    return replace(tunables, packing=packing, sizes=sizes, **of(OF_LOOPS))
