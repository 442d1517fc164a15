"""Which tuning databases fit, and what ``compile`` reads from one."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import dcc.codegen
import dcc.schedules
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.machine import machine_facts
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tuning.database import DEVICE, TuningDatabase
from dcc.schedules.tuning.decision import Decision, LookUp
from dcc.schedules.tuning.layer_key import layer_key
from dcc.targets.target import Target

LOCAL, RPC, MCA = "local", "rpc", "mca"


def local_identity(target: Target) -> dict[str, Any]:
    """Describe measurements of this machine."""
    facts = machine_facts()
    device = {"runner": LOCAL, "processor": facts["processor"], "processors": facts["processors"]}
    return {"target": _described(target), "device": device, "versions": _versions()}


def card_identity(target: Target, card: str) -> dict[str, Any]:
    """Describe measurements of this machine's card."""
    device = {"runner": LOCAL, "card": card}
    return {"target": _described(target), "device": device, "versions": _versions()}


def remote_identity(target: Target, key: str) -> dict[str, Any]:
    """Describe measurements of the devices that a tracker lends under ``key``."""
    device = {"runner": RPC, "key": key}
    return {"target": _described(target), "device": device, "versions": _versions()}


def estimate_identity(target: Target) -> dict[str, Any]:
    """Describe estimates for the core of ``target``: the same wherever they are made."""
    assert target.pipeline is not None
    core = {"model": target.pipeline.model, "clock": target.pipeline.clock}
    device = {"runner": MCA, **core, "memory_bandwidth": target.memory_bandwidth}
    return {"target": _described(target), "device": device, "versions": _versions()}


def _described(target: Target) -> dict[str, Any]:
    # As it is read back: lists, no tuples.
    described: dict[str, Any] = json.loads(json.dumps(target.describe()))
    return described


def _versions() -> dict[str, str]:
    return {"tvm": version("apache-tvm"), "kernels": kernel_version()}


@cache
def kernel_version() -> str:
    """Return a digest of the packings and kernels: what a time was measured of."""
    digest = sha256()
    for package in (dcc.codegen, dcc.schedules):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            place = path.relative_to(folder)
            if place.parts[0] != "tuning":  # a better search makes no record wrong
                digest.update(str(place).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def open_database(folder: str | PathLike[str], target: Target) -> TuningDatabase:
    """Open a database for ``compile``.

    Raises
    ------
    TuningError
        It was measured on another device or with other versions. Where the times come from devices
        of a tracker or from a card, this machine need not have them.
    """
    identity = local_identity(target)
    if target.gpu is not None or _runner_of(Path(folder)) in (RPC, MCA):
        del identity["device"]
    return TuningDatabase(Path(folder), identity, create=False)


def _runner_of(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / DEVICE).read_text())["device"]["runner"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # opening it says what is wrong


def look_up(folder: str | PathLike[str], target: Target) -> LookUp:
    """Return the function that asks a database for the candidate of a layer.

    Raises
    ------
    TuningError
        The database does not fit.
    """
    database = open_database(folder, target)

    def ask(shape: LayerShape, weight: WeightMatrix, storage: str) -> Decision:
        key = layer_key(shape, weight)
        choices = database.choices.get(key, {})
        if storage not in choices:
            tuned = ", ".join(f"'{name}'" for name in choices)
            of_other = f"tuned with storage {tuned} only" if tuned else "not in the database"
            return Decision(None, f"not tuned: this layer is {of_other}")
        choice = choices[storage]
        note = "" if choice.confirmed else ", not measured again: the search was interrupted"
        candidate = choice.parsed()
        if candidate is None:
            best = f"the best of {choice.trials} candidates"
            if choice.trials == 1:
                best = "the only candidate tried"
            text = f"tuned: the default is {best}{note}"
            return Decision(None, text)
        values = str(candidate)
        text = f"tuned: {choice.ratio:.2f}x as fast as the default, {choice.trials} tried{note}"
        return Decision(candidate, f"{text} ({values})")

    return ask
