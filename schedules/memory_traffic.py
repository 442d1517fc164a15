"""How long reading a weight takes, by the part of the memory that holds it between two runs."""

from __future__ import annotations

from dcc.targets.target import Target

CACHE_BYTES_PER_NANOSECOND = 53.0
"""The last cache level, one core; cores add up (dense products of 16 MB: 106 on two)."""
MEMORY_BYTES_PER_NANOSECOND = 30.0
"""Main memory, all cores together (dense products of 67 to 411 MB)."""


def nanoseconds_of_reading(size: int, target: Target) -> float:
    """Nanoseconds in which all cores of ``target`` together read ``size`` bytes once.

    What fits into the second cache levels costs nothing beside the arithmetic.
    """
    cores = max(target.cores, 1)
    if size <= target.caches.level2 * cores:
        return 0.0
    if size <= target.caches.last_level:
        return size / (CACHE_BYTES_PER_NANOSECOND * cores)
    return size / MEMORY_BYTES_PER_NANOSECOND
