"""Places of temporary tensors in one block of memory, planned ahead.

Each has a size and the steps from its first to its last use; those that live at the same step must
not overlap. Largest first, each at the lowest place that is free (greedy by size, as in Pisarchyk
and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64


@dataclass(frozen=True)
class Lifetime:
    """A tensor of ``size`` bytes that is used from step ``first`` to ``last``, both included."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both live at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in bytes, in the order of the lifetimes, and the size of the block."""

    offsets: tuple[int, ...]
    size: int


def plan_memory(lifetimes: Sequence[Lifetime]) -> MemoryPlan:
    """Give each tensor its place; offsets are multiples of 64."""
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    order = sorted(range(len(lifetimes)), key=lambda n: (-lifetimes[n].size, lifetimes[n].first))
    for number in order:
        tensor = lifetimes[number]
        taken = sorted(
            (offsets[other], offsets[other] + lifetimes[other].size)
            for other in placed
            if tensor.meets(lifetimes[other])
        )
        at = 0
        for begin, end in taken:
            if at + tensor.size <= begin:
                break
            at = max(at, -(-end // ALIGNMENT) * ALIGNMENT)
        offsets[number] = at
        placed.append(number)
    size = max((offsets[n] + tensor.size for n, tensor in enumerate(lifetimes)), default=0)
    return MemoryPlan(tuple(offsets), size)


def largest_sum(lifetimes: Sequence[Lifetime]) -> int:
    """Most bytes that live at one step: what no plan can go below."""
    steps = {tensor.first for tensor in lifetimes}
    return max(
        (sum(t.size for t in lifetimes if t.first <= step <= t.last) for step in steps), default=0
    )
