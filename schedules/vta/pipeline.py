"""Overlaps loads, computation and stores of consecutive tiles: two virtual threads.

A kernel is a sequence of output tiles, each a sequence of steps that read one operand from INP and
one from WGT. Each scratchpad has a slot for each virtual thread; what a slot holds already is not
loaded again. With two threads, the loads of a step wait for the step before the last only, and a
tile's accumulators are rewritten while those of the tile before are stored.

Tokens: the loads of a step push one to compute, which the first GEMM of the step takes (operands
are there). The last GEMM of a step pushes one to load where later loads overwrite what it read.
The last instruction of a tile pushes one to store; the last STORE of a tile pushes one back where
a later tile rewrites its accumulators.
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
    """

    inputs: Operand
    weights: Operand | None
    compute: Callable[[int, int, int], None]
    ends: bool = False


@dataclass(frozen=True)
class Tile:
    """One output tile.

    Attributes
    ----------
    begin
        Emits what comes before the steps (ACC base).
    finish
        Emits what comes after them (ACC base); at least one instruction, on every accumulator that
        is stored.
    store
        ACC base -> the STOREs of the tile.
    """

    label: str
    begin: Callable[[int], None]
    steps: Sequence[Step]
    finish: Callable[[int], None]
    store: Callable[[int], list[Transfer]]


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
    """Where a step's operands stand, what is loaded for it, and which step frees the slots."""

    inputs: int
    weights: int
    loads: list[Transfer]
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
        LOADs behind the first step's, for what comes after the steps of a tile.
    """
    planned = _plan(tiles, sizes)
    if first and planned:
        planned[0].loads[:0] = first
    number = 0
    for index, tile in enumerate(tiles):
        builder.label = tile.label
        base = index % sizes.threads * sizes.accumulators
        mark = len(builder.instructions)
        tile.begin(base)
        waits_for_store = index >= sizes.threads
        if waits_for_store:
            _first_compute(builder, mark).flags.pop_next = True
        for step in tile.steps:
            if step.ends:
                second = _emit_second(builder, second)
            _emit_step(builder, step, planned[number], base)
            second = _emit_second(builder, second)
            number += 1
        second = _emit_second(builder, second)
        tile.finish(base)
        builder.instructions[-1].flags.push_next = True
        stores = tile.store(base)
        stores[0].flags.pop_prev = True
        stores[-1].flags.push_prev = index + sizes.threads < len(tiles)
        for store in stores:
            builder.emit(store)
    return builder.finish()


def _plan(tiles: Sequence[Tile], sizes: SlotSizes) -> list[_Planned]:
    inputs, weights = (
        _Slots(size, [None] * sizes.threads, [-2] * sizes.threads)
        for size in (sizes.inputs, sizes.weights)
    )
    planned: list[_Planned] = []
    for step in (step for tile in tiles for step in tile.steps):
        number = len(planned)
        slot, missing = inputs.take(step.inputs.key, number)
        loads = step.inputs.load(slot * sizes.inputs) if missing else []
        entry = _Planned(slot * sizes.inputs, 0, loads)
        if step.weights is not None:
            slot, missing = weights.take(step.weights.key, number)
            entry.weights = slot * sizes.weights
            if missing:
                entry.loads = [*loads, *step.weights.load(entry.weights)]
        if entry.loads and number >= sizes.threads:
            planned[number - sizes.threads].frees = True
            entry.after = number - sizes.threads
        planned.append(entry)
    return planned


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
    for place, load in enumerate(entry.loads):
        load.flags.pop_next = place == 0 and entry.after is not None
        load.flags.push_next = place == len(entry.loads) - 1
        builder.emit(load)
    mark = len(builder.instructions)
    step.compute(entry.inputs, entry.weights, base)
    if entry.loads:
        _first_compute(builder, mark).flags.pop_prev = True
    if entry.frees:
        builder.instructions[-1].flags.push_prev = True


def _first_compute(builder: StreamBuilder, mark: int) -> Instruction:
    """First instruction since ``mark`` that is no LOAD: micro-ops need not wait."""
    for instruction in builder.instructions[mark:]:
        if not isinstance(instruction, Transfer):
            return instruction
    raise AssertionError("a tile or step without an instruction that computes")
