"""Checkpoints: a file that holds all that a training needs to go on as if nothing had happened."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dcc.errors import InputError
from dcc.files import atomic_path

if TYPE_CHECKING:
    from dcc.training.epoch_report import EpochReport
    from dcc.training.loop import StageRun

_VERSION = 2
_DIGEST = re.compile("[0-9a-f]{64}")


def write_checkpoint(
    path: Path, identity: dict[str, Any], run: StageRun, reports: list[EpochReport]
) -> None:
    """Write the state between two epochs; the old file stays until the new one is complete."""
    content = {
        "version": _VERSION,
        "identity": identity,
        "stage": run.stage,
        "run": run.state(),
        "model": run.learning.model.state(),
        "reports": [asdict(report) for report in reports],
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def read_checkpoint(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Raises
    ------
    InputError
        It is missing, damaged, or belongs to a training of another model, recipe, data or seed.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint '{path}' to resume from; start without --resume")
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        version = content["version"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"'{path}' is not a checkpoint that can be read: {reason}") from None
    if version != _VERSION:
        raise InputError(
            f"checkpoint '{path}' is of version {version}, expected {_VERSION}; start without "
            "--resume"
        )
    differences = "; ".join(_differences(content["identity"], identity))
    if differences:
        raise InputError(
            f"checkpoint '{path}' belongs to another training: {differences}. Repeat the command "
            "that it is of, or start without --resume"
        )
    return content


def _differences(
    saved: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """Say what differs, key by key; of digests, that they do."""
    for key, value in now.items():
        old, name = saved.get(key), f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            yield from _differences(old, value, f"{name}.")
        elif old != value:
            digest = isinstance(value, str) and _DIGEST.fullmatch(value)
            yield f"{name} differs" if digest else f"{name} was {old!r}, now it is {value!r}"
