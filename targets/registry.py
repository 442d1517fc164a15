"""The targets by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from dcc.errors import TargetError
from dcc.targets.host import host_target
from dcc.targets.target import Target
from dcc.targets.vta.target import vta_target
from dcc.targets.x86 import level3_target, level4_target

_TARGETS: dict[str, Callable[[], Target]] = {
    "host": host_target,
    "x86-64-v3": level3_target,
    "x86-64-v4": level4_target,
    "vta-sim": vta_target,
}


def get_target(name: str) -> Target:
    """Look a target up.

    Raises
    ------
    TargetError
        There is no such target; the message names the nearest and all known ones.
    """
    if name in _TARGETS:
        return _TARGETS[name]()
    near = difflib.get_close_matches(name, _TARGETS, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise TargetError(f"there is no target '{name}'{hint} (known: {', '.join(sorted(_TARGETS))})")


def list_targets() -> list[Target]:
    """All targets, the host first."""
    return [make() for make in _TARGETS.values()]
