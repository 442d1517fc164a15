"""A kernel as a nest of loops with the accesses and operations of one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dcc.schedules.work.terms import Term, loops_of


@dataclass
class Place:
    """A buffer of a kernel.

    Attributes
    ----------
    root
        Number of the buffer whose memory this one shares; its own where there is none.
    parameter
        Its number among the parameters; None: the kernel allocates it.
    local
        Whether it belongs to a thread alone.
    register
        Whether it stays in registers, so that its accesses move no bytes.
    """

    number: int
    name: str
    shape: tuple[int, ...]
    item: float
    root: int
    parameter: int | None = None
    local: bool = False
    register: bool = False
    written: bool = False

    @property
    def nbytes(self) -> float:
        """Size of the whole buffer."""
        size = self.item
        for extent in self.shape:
            size *= extent
        return size


@dataclass
class Access:
    """Reads or writes of a buffer at one place of the kernel.

    Attributes
    ----------
    indices
        One term for each axis of the buffer.
    lanes
        Elements that each touches.
    times
        How often it is executed in one run.
    stores
        Whether it writes.
    """

    place: Place
    indices: tuple[Term, ...]
    lanes: int
    times: float
    stores: bool
    loops: frozenset[int] | None = None

    def __post_init__(self) -> None:
        found: set[int] = set()
        for index in self.indices:
            loops = loops_of(index)
            if loops is None:
                self.loops = None
                return
            found |= loops
        self.loops = frozenset(found)

    @property
    def nbytes(self) -> float:
        """Bytes that all executions move."""
        return self.times * self.lanes * self.place.item


@dataclass
class Loop:
    """A loop, or the whole kernel.

    Attributes
    ----------
    entered, passes
        How often it begins, and how often its body runs, in one run of the kernel.
    """

    number: int
    parent: Loop | None = None
    entered: float = 1.0
    passes: float = 1.0
    children: list[Loop] = field(default_factory=list)
    accesses: list[Access] = field(default_factory=list)

    @property
    def trip(self) -> float:
        """Passes each time that it is entered, on average."""
        return self.passes / self.entered if self.entered else 0.0

    def inside(self) -> Iterator[Loop]:
        """Go through the loop and all loops in it."""
        yield self
        for child in self.children:
            yield from child.inside()


@dataclass
class Nest:
    """A kernel, read."""

    root: Loop
    places: list[Place]
    operations: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def common_loop(loops: Sequence[Loop]) -> Loop:
    """Innermost loop that all of ``loops`` stand in."""
    chains = []
    for loop in loops:
        chain = [loop]
        while chain[-1].parent is not None:
            chain.append(chain[-1].parent)
        chains.append(chain[::-1])
    common = chains[0][0]
    for level in zip(*chains, strict=False):
        if any(each is not level[0] for each in level):
            break
        common = level[0]
    return common


def hoist(nest: Nest) -> None:
    """Take accesses whose address does not change in a loop out of it, as a code generator does.

    Elements of a buffer that others write in the same loop stay, unless all of its accesses there
    keep to their addresses: those are sums in registers.
    """
    for loop in nest.root.inside():
        for access in loop.accesses:
            at: Loop | None = loop
            while at is not None and at.parent is not None and _constant_in(at, access):
                access.times = min(access.times, at.entered)
                at = at.parent


def _constant_in(loop: Loop, access: Access) -> bool:
    if access.loops is None or loop.number in access.loops:
        return False
    if not access.place.written:
        return True
    root = access.place.root
    return all(
        other.loops is not None and loop.number not in other.loops
        for inner in loop.inside()
        for other in inner.accesses
        if other.place.root == root
    )
