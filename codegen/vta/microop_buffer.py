"""Which micro-ops are loaded when: several lists in one LOAD, ahead of the first that needs one.

A LOAD of micro-ops runs in the compute queue, which waits for it; so the lists that instructions
further on need come along, as far as there is room. They stay until the buffer is full; then it is
filled from its start again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST_IN_LOAD = 256
"""Micro-ops of one LOAD, unless a single list has more: the first instruction waits for all."""


@dataclass(frozen=True)
class Batch:
    """One LOAD.

    Attributes
    ----------
    before
        Number of the instruction that it comes ahead of.
    lists
        Numbers of the lists, one behind the other.
    start
        Place in the buffer.
    """

    before: int
    lists: tuple[int, ...]
    start: int


def plan_batches(
    needs: Sequence[int | None], sizes: Sequence[int], limit: int
) -> tuple[list[Batch], list[int]]:
    """Plan the LOADs of a stream.

    Parameters
    ----------
    needs
        For each instruction the number of the list that it runs, if any.
    sizes
        Micro-ops of each list, at most ``limit``.
    limit
        Entries of the buffer.

    Returns
    -------
    batches
        In the order of the stream.
    begins
        For each instruction where its list begins; 0 where it has none.
    """
    resident: dict[int, int] = {}
    used = 0
    batches: list[Batch] = []
    begins: list[int] = []
    for position, need in enumerate(needs):
        if need is not None and need not in resident:
            if used + sizes[need] > limit:
                resident.clear()
                used = 0
            room = min(limit - used, max(MOST_IN_LOAD, sizes[need]))
            lists = _missing(needs[position:], sizes, resident, room)
            batches.append(Batch(position, tuple(lists), used))
            for each in lists:
                resident[each] = used
                used += sizes[each]
        begins.append(0 if need is None else resident[need])
    return batches, begins


def _missing(
    needs: Sequence[int | None], sizes: Sequence[int], resident: dict[int, int], room: int
) -> list[int]:
    """List what is not there, in the order of their first use, as long as they fit ``room``."""
    found: dict[int, None] = {}
    for need in needs:
        if need is None or need in resident or need in found:
            continue
        if sizes[need] > room:
            break
        room -= sizes[need]
        found[need] = None
    return list(found)
