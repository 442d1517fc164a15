"""Count a scheduled kernel: operations, and bytes at each level of a target's memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx as tir

from dcc.schedules.work.traffic import Traffic, accessed_bytes
from dcc.schedules.work.walk import read_kernel
from dcc.targets.target import Target

_REGISTERS = 32
_BLOCK_REGISTERS = 255
"""Of a thread of a card, 32 bits each."""


@dataclass(frozen=True)
class KernelWork:
    """One run of a kernel.

    Attributes
    ----------
    operations
        Kind -> how many, each lane of a vector counted.
    bytes
        Level -> bytes that it delivers or takes; ``dram`` as if nothing were in a cache before.
    touched
        Bytes of each parameter that the kernel touches at all: what has to come or go once.
    notes
        What was counted from above, or not at all.
    """

    operations: dict[str, float]
    bytes: dict[str, float]
    touched: dict[int, float]
    notes: tuple[str, ...]


def count_kernel(
    function: tir.PrimFunc, data: Mapping[int, npt.NDArray[Any]], target: Target
) -> KernelWork:
    """Count one run of a kernel.

    Parameters
    ----------
    function
        A scheduled kernel over buffers.
    data
        Contents of its parameters by number, where they are constants.
    """
    nest = read_kernel(function, data, _register_bytes(target))
    ranges = {
        place.number: (float(data[place.parameter].min()), float(data[place.parameter].max()))
        for place in nest.places
        if place.parameter in data and _has_range(data[place.parameter])
    }
    traffic = Traffic(nest, ranges)
    moved = {"level1": accessed_bytes(nest)}
    touched: dict[int, float] = {}
    for level, capacity in behind_caches(target):
        brought = traffic.total(capacity)
        moved[level] = sum(brought.values())
    for number, size in traffic.footprint(nest.root).items():
        parameter = nest.places[number].parameter
        if parameter is not None:
            touched[parameter] = size
    return KernelWork(
        {kind: float(count) for kind, count in nest.operations.items() if count},
        moved,
        touched,
        tuple(nest.notes),
    )


def behind_caches(target: Target) -> list[tuple[str, int]]:
    """Each level behind the first, and bytes of the cache in front of it."""
    caches, levels, front = target.caches, [], target.caches.level1
    for name, size in (("level2", caches.level2), ("last_level", caches.last_level)):
        # A level that is the last one goes by that name.
        if size > front and (name != "level2" or size < caches.last_level):
            levels.append((name, front))
            front = size
    return [*levels, ("dram", front)]


def _register_bytes(target: Target) -> float:
    if target.gpu is not None:
        return 4.0 * _BLOCK_REGISTERS
    return 4.0 * _REGISTERS * target.vector_floats


def _has_range(array: npt.NDArray[Any]) -> bool:
    return array.size > 0 and np.issubdtype(array.dtype, np.integer)
