"""Overlaps loads, computation and stores of consecutive tiles: two virtual threads.

A kernel is a sequence of output tiles, each a sequence of steps that read one operand from INP and
one from WGT. Each scratchpad has a slot for each virtual thread; what a slot holds already is not
loaded again. With two threads, the loads of a step wait for the step before the last only, and a
tile's accumulators are rewritten while those of the tile before are stored.

Tokens: the loads of a step push one to compute, which the first GEMM of the step takes (operands
are there). The last GEMM of a step pushes one to load where later loads overwrite what it read.
The last instruction of a tile, or of a part of it, pushes one to store; the last STORE of a tile
pushes one back where a later tile rewrites its accumulators.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from dcc.codegen.vta.instructions import Flags, Instruction, Transfer
from dcc.codegen.vta.stream import Stream, StreamBuilder
from dcc.targets.vta.isa import Memory


@dataclass(frozen=True)
class Operand:
    """What a step needs in a slot of INP or WGT.

    Attributes
    ----------
    key
        Equal operands have equal keys.
    load
        First element of the slot -> the LOADs that fill it.
    """

    key: Hashable
    load: Callable[[int], list[Transfer]]


@dataclass(frozen=True)
class Step:
    """Part of a tile's reduction.

    Attributes
    ----------
    compute
        (INP base, WGT base, ACC base) -> emits at least one instruction into the builder.
    ends
        Whether it needs what the kernel loads for the end of its tiles.
    pieces
        The same step in pieces, whose operands fill parts of its slots: computation starts when
        the first has been loaded. For the first tile of a kernel.
    """

    inputs: Operand
    weights: Operand | None
    compute: Callable[[int, int, int], None]
    ends: bool = False
    pieces: tuple[Step, ...] = ()


@dataclass(frozen=True)
class End:
    """What comes after the steps of a tile, or for a part of it.

    Attributes
    ----------
    finish
        Emits instructions (ACC base); at least one, on every accumulator that is stored.
    store
        ACC base -> the STOREs.
    """

    finish: Callable[[int], None]
    store: Callable[[int], list[Transfer]]


@dataclass(frozen=True)
class Tile:
    """One output tile.

    Attributes
    ----------
    begin
        Emits what comes before the steps (ACC base).
    ends
        One, or one for each part of the tile that is stored while the next part is computed.
    """

    label: str
    begin: Callable[[int], None]
    steps: Sequence[Step]
    ends: Sequence[End]


@dataclass(frozen=True)
class SlotSizes:
    """Elements of one slot in each scratchpad, and how many virtual threads have one."""

    inputs: int
    weights: int
    accumulators: int
    threads: int


@dataclass
class _Slots:
    """The slots of one scratchpad: what each holds, and the step that used it last."""

    size: int
    keys: list[Hashable]
    used: list[int]

    def take(self, key: Hashable, step: int) -> tuple[int, bool]:
        """Find the slot for an operand; return its number and whether it must be loaded."""
        hit = key in self.keys
        slot = self.keys.index(key) if hit else self.used.index(min(self.used))
        self.keys[slot], self.used[slot] = key, step
        return slot, not hit


@dataclass
class _Planned:
    """Where a step's operands stand, what is loaded for it, and which step frees the slots.

    ``loads`` has a list for each piece of the step.
    """

    inputs: int
    weights: int = 0
    loads: list[list[Transfer]] = field(default_factory=list)
    after: int | None = None
    frees: bool = field(default=False)


def run_tiles(
    builder: StreamBuilder,
    tiles: Sequence[Tile],
    sizes: SlotSizes,
    first: Sequence[Transfer] = (),
    second: Sequence[Transfer] = (),
) -> Stream:
    """Emit the stream of a kernel.

    Parameters
    ----------
    first
        LOADs of INP or WGT ahead of the first step's.
    second
        LOADs for what comes after the steps of a tile: as late as that.
    """
    planned = _plan(tiles, sizes)
    if first and planned:
        planned[0].loads[0][:0] = first
    second = _placed(planned[: len(tiles[0].steps)], second)
    number = 0
    for index, tile in enumerate(tiles):
        builder.label = tile.label
        base = index % sizes.threads * sizes.accumulators
        mark = len(builder.instructions)
        tile.begin(base)
        if index >= sizes.threads:
            _first_compute(builder, mark).flags.pop_next = True
        for step in tile.steps:
            if step.ends:
                second = _emit_second(builder, second)
            _emit_step(builder, step, planned[number], base)
            number += 1
        second = _emit_second(builder, second)
        _emit_ends(builder, tile.ends, base, rewritten=index + sizes.threads < len(tiles))
    return builder.finish()


def _plan(tiles: Sequence[Tile], sizes: SlotSizes) -> list[_Planned]:
    inputs, weights = (
        _Slots(size, [None] * sizes.threads, [-2] * sizes.threads)
        for size in (sizes.inputs, sizes.weights)
    )
    planned: list[_Planned] = []
    for step in (step for tile in tiles for step in tile.steps):
        number = len(planned)
        pieces = step.pieces or (step,)
        slot, missing = inputs.take(step.inputs.key, number)
        entry = _Planned(slot * sizes.inputs, loads=[[] for _ in pieces])
        if missing:
            for loads, piece in zip(entry.loads, pieces, strict=True):
                loads += piece.inputs.load(entry.inputs)
        if step.weights is not None:
            slot, missing = weights.take(step.weights.key, number)
            entry.weights = slot * sizes.weights
            if missing:
                for loads, piece in zip(entry.loads, pieces, strict=True):
                    assert piece.weights is not None
                    loads += piece.weights.load(entry.weights)
        if any(entry.loads) and number >= sizes.threads:
            planned[number - sizes.threads].frees = True
            entry.after = number - sizes.threads
        planned.append(entry)
    return planned


def _placed(planned: Sequence[_Planned], loads: Sequence[Transfer]) -> Sequence[Transfer]:
    """Put loads ahead of those of the first tile's last step; return what finds no place.

    The token of that step covers them. A tile of one step would wait for them too early.
    """
    late = [entry for entry in planned[1:] if any(entry.loads)]
    if not late:
        return loads
    late[-1].loads[0][:0] = loads
    return ()


def _emit_second(builder: StreamBuilder, loads: Sequence[Transfer]) -> Sequence[Transfer]:
    """Emit loads and an instruction of the compute queue that waits for them; nothing is left.

    It waits now, though only what follows the steps needs them: tokens are taken in the order in
    which they were put.
    """
    for load in loads:
        builder.emit(load)
    if loads:
        loads[-1].flags.push_next = True
        builder.emit(Transfer(Memory.UOP, flags=Flags(pop_prev=True)))
    return ()


def _emit_step(builder: StreamBuilder, step: Step, entry: _Planned, base: int) -> None:
    waits = entry.after is not None
    for piece, loads in zip(step.pieces or (step,), entry.loads, strict=True):
        for load in loads:
            load.flags.pop_next, waits = waits, False
            load.flags.push_next = load is loads[-1]
            builder.emit(load)
        mark = len(builder.instructions)
        piece.compute(entry.inputs, entry.weights, base)
        if loads:
            _first_compute(builder, mark).flags.pop_prev = True
    if entry.frees:
        builder.instructions[-1].flags.push_prev = True


def _emit_ends(builder: StreamBuilder, ends: Sequence[End], base: int, *, rewritten: bool) -> None:
    """Emit the ends of a tile; the last STORE says where its accumulators are ``rewritten``."""
    for end in ends:
        end.finish(base)
        builder.instructions[-1].flags.push_next = True
        stores = end.store(base)
        stores[0].flags.pop_prev = True
        stores[-1].flags.push_prev = rewritten and end is ends[-1]
        for store in stores:
            builder.emit(store)


def _first_compute(builder: StreamBuilder, mark: int) -> Instruction:
    """First instruction since ``mark`` that is no LOAD: those of accumulators need not wait."""
    for instruction in builder.instructions[mark:]:
        if not isinstance(instruction, Transfer):
            return instruction
    raise AssertionError("a tile or step without an instruction that computes")
