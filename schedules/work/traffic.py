"""Which level of memory serves the accesses of a kernel.

Every access that is not to registers is one of the first level. What a cache of some size passes on
to the level behind it follows from footprints, as in a model of least recently used lines:

- a loop whose footprint (all buffers that it touches) fits the cache brings each byte once;
- if one pass of the loop fits, what the next pass uses again is still there: a buffer is brought
  once, unless each pass brings other parts of it;
- otherwise every pass brings its own part again.

A footprint is the number of distinct elements (``distinct``), no more than what is accessed and no
more than the buffer; where the data decide an index, it is the whole axis. A buffer that a kernel
allocates and that stays in a cache is never fetched and never written back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dcc.schedules.work.distinct import Steps, distinct_elements, steps_of
from dcc.schedules.work.intervals import Interval
from dcc.schedules.work.nest import Access, Loop, Nest

Footprint = dict[int, float]
"""Number of a buffer -> bytes."""


@dataclass
class Traffic:
    """Bytes that a nest brings into caches of any size."""

    nest: Nest
    data_ranges: Mapping[int, Interval]
    _loops: dict[int, Footprint] = field(default_factory=dict)
    _passes: dict[int, Footprint] = field(default_factory=dict)

    def total(self, capacity: float) -> Footprint:
        """Bytes by buffer that pass between a cache of ``capacity`` bytes and what is behind it."""
        root = self.nest.root
        brought = self._pass_of(root, capacity)
        whole = self.footprint(root)
        result = {}
        for number, size in brought.items():
            scratch = self.nest.places[number].parameter is None
            result[number] = 0.0 if scratch and size <= whole[number] <= capacity else size
        return result

    def footprint(self, loop: Loop) -> Footprint:
        """Bytes that a loop touches each time that it is entered."""
        if loop.number not in self._loops:
            self._loops[loop.number] = self._footprint(
                loop, {each.number for each in loop.inside()}
            )
        return self._loops[loop.number]

    def footprint_of_pass(self, loop: Loop) -> Footprint:
        """Bytes that one pass of a loop touches."""
        if loop.number not in self._passes:
            inner = {each.number for each in loop.inside()} - {loop.number}
            self._passes[loop.number] = self._footprint(loop, inner)
        return self._passes[loop.number]

    def _footprint(self, loop: Loop, varying: set[int]) -> Footprint:
        times = loop.entered if loop.number in varying else loop.passes
        trips = {each.number: each.trip for each in loop.inside() if each.number in varying}
        touched: dict[int, list[Steps]] = {}
        accessed: dict[int, float] = {}
        for inner in loop.inside():
            for access in inner.accesses:
                place = access.place
                steps = steps_of(access.indices, place.shape, trips, self.data_ranges)
                touched.setdefault(place.number, []).append(steps)
                share = max(access.times / max(times, 1.0), 1.0) if access.times else 0.0
                each = share * access.lanes * place.item
                accessed[place.number] = accessed.get(place.number, 0.0) + each
        result: Footprint = {}
        for number, found in touched.items():
            place = self.nest.places[number]
            size = min(distinct_elements(found) * place.item, accessed[number], place.nbytes)
            root = self.nest.places[place.root]
            result[place.root] = min(result.get(place.root, 0.0) + size, root.nbytes)
        return result

    def _entered(self, loop: Loop, capacity: float) -> Footprint:
        """Bytes that a loop brings each time that it is entered."""
        whole = self.footprint(loop)
        if sum(whole.values()) <= capacity or not loop.trip:
            return whole
        brought = {
            number: size * loop.trip for number, size in self._pass_of(loop, capacity).items()
        }
        if sum(self.footprint_of_pass(loop).values()) <= capacity:
            return {number: min(size, whole[number]) for number, size in brought.items()}
        return brought

    def _pass_of(self, loop: Loop, capacity: float) -> Footprint:
        """Bytes that one pass of a loop brings."""
        once = self.footprint_of_pass(loop)
        if sum(once.values()) <= capacity:
            return once
        result: Footprint = {}
        for child in loop.children:
            share = child.entered / loop.passes if loop.passes else 0.0
            for number, size in self._entered(child, capacity).items():
                result[number] = result.get(number, 0.0) + size * share
        for access in loop.accesses:
            times = access.times / loop.passes if loop.passes else 0.0
            root = access.place.root
            size = times * access.lanes * access.place.item
            result[root] = result.get(root, 0.0) + size
        return result


def accessed_bytes(nest: Nest) -> float:
    """Bytes of all accesses: what the first level serves."""
    accesses: list[Access] = [each for loop in nest.root.inside() for each in loop.accesses]
    return sum(access.nbytes for access in accesses)
