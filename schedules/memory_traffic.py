"""How long reading a weight takes, by the part of the memory that holds it between two runs."""

from __future__ import annotations

from dcc.targets.target import Target


def nanoseconds_of_reading(size: int, target: Target) -> float:
    """Nanoseconds in which all cores of ``target`` together read ``size`` bytes once.

    What fits into the second cache levels costs nothing beside the arithmetic.
    """
    cores = max(target.cores, 1)
    if size <= target.caches.level2 * cores:
        return 0.0
    if size <= target.caches.last_level:
        return size / (target.cache_bandwidth * cores)
    return size / target.memory_bandwidth
