"""Count a scheduled kernel: operations, and bytes at each level of a target's memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx as tir

from dcc.schedules.work.intervals import Interval
from dcc.schedules.work.nest import Loop, Nest, common_loop
from dcc.schedules.work.traffic import Traffic, accessed_bytes
from dcc.schedules.work.walk import read_kernel
from dcc.targets.target import Target

_REGISTERS = 32


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
    registers = _register_bytes(target)
    nest = read_kernel(function, data, registers)
    ranges = _ranges(nest, data)
    _forget_registers(nest, ranges, registers)
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


def _forget_registers(nest: Nest, ranges: Mapping[int, Interval], registers: float) -> None:
    """Leave out accesses of local buffers that are as large as registers when they are compacted.

    TVM's schedules allocate a tile as large as the whole result, and make it small at the end.
    """
    loops: dict[int, list[Loop]] = {}
    for loop in nest.root.inside():
        for access in loop.accesses:
            if access.place.local:
                loops.setdefault(access.place.number, []).append(loop)
    traffic = Traffic(nest, ranges)
    for number, users in loops.items():
        if traffic.footprint_of_pass(common_loop(users)).get(number, 0.0) <= registers:
            nest.places[number].register = True
    for loop in nest.root.inside():
        loop.accesses = [access for access in loop.accesses if not access.place.register]


def _register_bytes(target: Target) -> float:
    if target.gpu is not None:
        return math.inf  # of a thread; what does not fit is rare
    return 4.0 * _REGISTERS * target.vector_floats


def _ranges(nest: Nest, data: Mapping[int, npt.NDArray[Any]]) -> dict[int, Interval]:
    """Least and largest element of the buffers whose contents are known."""
    found = {}
    for place in nest.places:
        array = None if place.parameter is None else data.get(place.parameter)
        if array is not None and array.size and np.issubdtype(array.dtype, np.integer):
            found[place.number] = (float(array.min()), float(array.max()))
    return found
