"""Products of a dense weight, or of a grid of codes, with some samples, on tensor cores.

A block of warps computes rows x samples, of all columns or of a share of them. Each warp has rows
of its own, whose values it reads straight to registers; the inputs stand in shared memory, already
split into their parts (see ``tensor_tile``):

    load part 0 of rows and samples; store the samples; load part 1
    for each part of the columns, two of them a step:
        for each 16 columns: products of the values' parts, summed up apart; add them to the sums
        store the next part's samples in the other half of the shared memory
        load the part after that; barrier

Tensor cores cut off what they add up instead of rounding it. So a chain of additions is short, and
what they found is added to the sums outside of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cuda.blocks import assign, at_least, barrier, launch
from dcc.schedules.cuda.gemm import add_up
from dcc.schedules.cuda.tensor_core import (
    SAMPLE_VALUES,
    SUMS,
    Fragments,
    MmaCore,
    SharedCore,
    TensorCore,
)
from dcc.schedules.cuda.tensor_loads import InputLoads, LookupLoads, ValueLoads, WeightLoads
from dcc.schedules.cuda.tensor_tile import (
    FRAGMENT_ROWS,
    FRAGMENT_SAMPLES,
    THREAD_COLUMNS,
    TensorTile,
)
from dcc.schedules.cuda.tile_place import place_of
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.weight_reader import Expr, allocate, argument, bind

FLOAT = "float32"


def tensor_gemm(
    packed: PackedWeight, dtype: str, epilogue: Epilogue, tile: TensorTile, instructions: bool
) -> tir.PrimFunc:
    """Kernel ``y[m, o] = epilogue(sum_k x[m, k] * weight[o, k])``; parameters as of ``gemm``.

    Without ``instructions`` of CUDA's own threads multiply instead of tensor cores.
    """
    with IRBuilder() as builder, T.prim_func():
        T.func_name("matmul_tensor_tiles")
        x = argument("x", (tile.samples, tile.columns), dtype)
        arrays = {
            name: argument(name, array.shape, array.dtype.name)
            for name, array in packed.arrays.items()
        }
        epilogue.declare()
        y = argument("y", (tile.samples, tile.rows), dtype)
        parts = None
        if tile.split > 1:
            parts = allocate("parts", (tile.split * tile.samples * tile.rows,), FLOAT, "global")
        with launch(tile.blocks, tile.threads) as (block, thread), at_least(tile.blocks_at_a_time):
            _Block(tile, packed, arrays, block, thread, instructions).emit(x, y, parts, epilogue)
        if parts is not None:
            add_up(parts, y, tile, epilogue)
    return builder.get()


@dataclass
class _Block:
    """The work of one block, as one of its threads sees it."""

    tile: TensorTile
    packed: PackedWeight
    arrays: dict[str, tir.Buffer]
    block: Expr
    thread: Expr
    instructions: bool

    def emit(
        self, x: tir.Buffer, y: tir.Buffer, parts: tir.Buffer | None, epilogue: Epilogue
    ) -> None:
        """Compute the tile of the block and store it, to ``parts`` where columns are split."""
        tile = self.tile
        self.place = place_of(tile, self.block)
        first, steps = self.place.first_step, self.place.steps
        core = MmaCore if self.instructions else SharedCore
        self.core: TensorCore = core(tile.warps, self.thread)
        self.inputs, self.weight = self._inputs(x), self._weight()
        self.inputs.open()
        self.weight.open()
        self._clear()
        # Behind the last part that one is loaded again: without branches nothing holds loads up.
        self.last = bind("last_part", 2 * (first + steps) - 1)
        self._load(2 * first)
        self.weight.keep()
        self.inputs.store(0)
        self._load(2 * first + 1)
        barrier()
        with T.serial(0, steps) as step:
            for half in range(2):
                self._multiply(half)
                # What was asked for half a step ago has arrived meanwhile.
                self.weight.keep()
                self.inputs.store(1 - half)
                self._load(2 * (first + step) + half + 2)
                barrier()
        self._store(y, parts, epilogue)

    def _inputs(self, x: tir.Buffer) -> InputLoads:
        """Make the loads of the samples."""
        tile = self.tile
        where = (tile, self.place.first_sample, tile.block_samples, 1, self.thread)
        return InputLoads("samples", x, *where, in_order=self.instructions)

    def _weight(self) -> WeightLoads:
        """Make the loads of the weight."""
        operands = (self.tile, self.place.first_row, self.thread, self.instructions)
        if self.packed.form == "dense":
            return ValueLoads(self.arrays["values"], *operands)
        codes, codebook = self.arrays["codes"], self.arrays["codebook"]
        return LookupLoads(codes, *operands, codebook, self.packed.code_bits)

    def _load(self, part: Expr) -> None:
        """Ask for a half of a step's columns."""
        column = bind("first_column", tir.min(part, self.last) * self.tile.half_depth)
        self.inputs.load(column)
        self.weight.load(column)

    def _clear(self) -> None:
        """Allocate the sums, those of a turn, and what a turn reads of the samples."""
        tile = self.tile
        self.at_once = min(self.core.at_once, tile.sample_fragments)
        count = tile.row_fragments * tile.sample_fragments * SUMS
        self.sums = allocate("sums", (count,), FLOAT)
        for place in range(count):
            assign(self.sums, 0.0, place)
        self.turn_sums = allocate("turn_sums", (tile.row_fragments * self.at_once * SUMS,), FLOAT)
        size = self.at_once * THREAD_COLUMNS
        self.columns = [allocate(f"columns_{n}", (size,), FLOAT) for n in range(tile.input_parts)]
        lane = tir.floormod(self.thread, 32)
        self.group = bind("group", tir.floordiv(lane, 4))
        self.quad = bind("quad", tir.floormod(lane, 4))

    def _multiply(self, half: int) -> None:
        """Multiply half a step's columns."""
        tile = self.tile
        for group in self.core.loop(tile.groups):
            for turn in self.core.loop(-(-tile.sample_fragments // self.at_once)):
                first = turn * self.at_once
                # With one at a time, the number of the turn may be that of a loop.
                many = self.at_once > 1
                count = min(self.at_once, tile.sample_fragments - first) if many else 1
                for n in range(count):
                    self._read(half, group, first + n, n)
                size = tile.row_fragments * count * SUMS
                for place in range(size):
                    assign(self.turn_sums, 0.0, place)
                for each in self.core.loop(2):
                    self._fragments(group, each, count)
                for place in range(size):
                    fragment, rest = divmod(place, count * SUMS)
                    at = (fragment * tile.sample_fragments + first) * SUMS + rest
                    assign(self.sums, self.sums[at] + self.turn_sums[place], at)

    def _read(self, half: int, group: Expr | int, fragment: Expr | int, n: int) -> None:
        """Read four columns of a sample, to where two fragments have them."""
        sample = fragment * FRAGMENT_SAMPLES + self.group
        place = bind("place", self.inputs.place(group, sample) + self.quad * THREAD_COLUMNS)
        for shared_part, held in zip(self.inputs.halves[half], self.columns, strict=True):
            value = shared_part[tir.Ramp(place, 1, THREAD_COLUMNS)]
            T.buffer_store(held, value, [tir.Ramp(n * THREAD_COLUMNS, 1, THREAD_COLUMNS)])

    def _fragments(self, group: Expr | int, each: Expr | int, count: int) -> None:
        """Multiply the fragments of eight columns."""
        tile = self.tile
        pairs = [
            (a, b)
            for a in reversed(range(tile.weight_parts))
            for b in reversed(range(tile.input_parts))
            if a + b < 2
        ]
        samples = Fragments(self.columns, each * SAMPLE_VALUES, THREAD_COLUMNS, count)
        self.core.multiply(self.turn_sums, self.weight.fragments(group, each), samples, pairs)

    def _store(self, y: tir.Buffer, parts: tir.Buffer | None, epilogue: Epilogue) -> None:
        """Store the sums of the thread, those that are inside."""
        tile, first_sample = self.tile, self.place.first_sample
        warp = tir.floordiv(self.thread, 32) * (FRAGMENT_ROWS * tile.row_fragments)
        for m in range(tile.row_fragments):
            for lower in range(2):
                below = m * FRAGMENT_ROWS + lower * (FRAGMENT_ROWS // 2)
                row = bind("row", self.place.first_row + warp + below + self.group)
                for n in range(tile.sample_fragments):
                    for odd in range(2):
                        at = (m * tile.sample_fragments + n) * SUMS + 2 * lower + odd
                        sample = first_sample + n * FRAGMENT_SAMPLES + 2 * self.quad + odd
                        inside = tir.And(sample < tile.samples, row < tile.rows)
                        with T.If(inside), T.Then():
                            if parts is not None:
                                line = (self.place.split * tile.samples + sample) * tile.rows
                                assign(parts, self.sums[at], line + row)
                            else:
                                value = epilogue.apply(self.sums[at], row, str(y.ty.dtype))
                                T.buffer_store(y, value, [sample, row])
