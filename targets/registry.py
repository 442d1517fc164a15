"""The targets by name: those of the package, and those of others.

An installed package adds a target by an entry point in the group ``dcc.targets``: the target's
name, and a function without arguments that returns the :class:`~dcc.targets.target.Target`. In one
process, :func:`registered` does the same.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points

from dcc.errors import TargetError
from dcc.targets.arm import (
    android_target,
    cortex_a53_target,
    cortex_a72_target,
    cortex_a76_target,
    neoverse_n1_target,
)
from dcc.targets.cuda import card_target, sm80_target, sm90_target
from dcc.targets.host import host_target
from dcc.targets.target import Target
from dcc.targets.vta.target import vta_target
from dcc.targets.x86 import level3_target, level4_target

GROUP = "dcc.targets"
"""Entry-point group."""

_TARGETS: dict[str, Callable[[], Target]] = {
    "host": host_target,
    "x86-64-v3": level3_target,
    "x86-64-v4": level4_target,
    "arm-cortex-a53": cortex_a53_target,
    "arm-cortex-a72": cortex_a72_target,
    "arm-cortex-a76": cortex_a76_target,
    "arm-neoverse-n1": neoverse_n1_target,
    "android-arm64": android_target,
    "cuda": card_target,
    "cuda-sm80": sm80_target,
    "cuda-sm90": sm90_target,
    "vta-sim": vta_target,
}


_registered: dict[str, Target] = {}


@contextlib.contextmanager
def registered(target: Target) -> Iterator[None]:
    """Make a target known by its name for the length of a ``with`` block.

    Raises
    ------
    TargetError
        There is a target of that name.
    """
    if target.name in (*_TARGETS, *_others(), *_registered):
        raise TargetError(f"there is a target '{target.name}' already: choose another name")
    _registered[target.name] = target
    try:
        yield
    finally:
        del _registered[target.name]


def get_target(name: str) -> Target:
    """Look a target up.

    Raises
    ------
    TargetError
        There is no such target; the message names the nearest and all known ones. Or the package
        that registered it does not give one.
    """
    if name in _TARGETS:
        return _TARGETS[name]()
    if name in _registered:
        return _registered[name]
    others = _others()
    if name in others:
        return _load(others[name])
    known = [*_TARGETS, *_registered, *others]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise TargetError(f"there is no target '{name}'{hint} (known: {', '.join(sorted(known))})")


def list_targets() -> list[Target]:
    """All targets, the host first, those of other packages last.

    Those of devices that this machine lacks are left out.
    """
    found = []
    for make in _TARGETS.values():
        with contextlib.suppress(TargetError):
            found.append(make())
    return [*found, *_registered.values(), *(_load(each) for each in _others().values())]


def _others() -> dict[str, EntryPoint]:
    """Entry points by target name; the package's own names cannot be taken."""
    found = entry_points(group=GROUP)
    return {entry.name: entry for entry in found if entry.name not in _TARGETS}


def _load(entry: EntryPoint) -> Target:
    """Make a target of another package."""
    where = f"the entry point '{entry.name} = {entry.value}' in the group {GROUP}"
    try:
        target = entry.load()()
    except Exception as error:
        raise TargetError(
            f"{where} failed ({type(error).__name__}: {error}): correct or uninstall its package"
        ) from error
    if not isinstance(target, Target):
        raise TargetError(
            f"{where} gave {type(target).__name__}, not a dcc.targets.target.Target: "
            "correct or uninstall its package"
        )
    if target.name != entry.name:
        raise TargetError(f"{where} gave a target named '{target.name}': use one name")
    return target
