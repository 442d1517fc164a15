"""Products of a dense weight, or of a grid of codes, with some samples: tiles in shared memory.

A block computes a tile of samples x rows, of all columns or of a share of them. While its threads
multiply one part of the columns, the next one is on its way to their registers:

    load part 0, store it to shared memory
    for each part:
        load the next part to registers
        for each column of the part: sums[m, n] += x[m] * weight[n]
        store the next part to the other half of the shared memory; barrier

Columns stand one after the other in shared memory, so that a thread reads its samples and rows as
vectors. Where columns are shared, a second kernel adds the sums of the blocks up, in a fixed order.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cuda.blocks import assign, barrier, each, launch
from dcc.schedules.cuda.gemm_tile import GemmTile
from dcc.schedules.cuda.tile import GROUP, Tile
from dcc.schedules.cuda.tile_loads import CodeLoads, GridLoads, Loads
from dcc.schedules.cuda.tile_place import place_of
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.weight_reader import Expr, allocate, argument, bind

REDUCTION_THREADS = 256
FLOAT = "float32"


def gemm(packed: PackedWeight, dtype: str, epilogue: Epilogue, tile: GemmTile) -> tir.PrimFunc:
    """Kernel ``y[m, o] = epilogue(sum_k x[m, k] * weight[o, k])``.

    Parameters of the kernel: x (samples, columns), the packed arrays (of one lane), scale and bias,
    y (samples, rows). Sums are of type float32.
    """
    with IRBuilder() as builder, T.prim_func():
        T.func_name("matmul_tiles")
        x = argument("x", (tile.samples, tile.columns), dtype)
        arrays = {
            name: argument(name, array.shape, array.dtype.name)
            for name, array in packed.arrays.items()
        }
        epilogue.declare()
        y = argument("y", (tile.samples, tile.rows), dtype)
        size = tile.samples * tile.rows
        parts = None
        if tile.split > 1:
            parts = allocate("parts", (tile.split * size,), FLOAT, "global")
        with launch(tile.blocks, tile.threads) as (block, thread):
            _Block(tile, packed, arrays, block, thread).emit(x, y, parts, epilogue)
        if parts is not None:
            add_up(parts, y, tile, epilogue)
    return builder.get()


def add_up(parts: tir.Buffer, y: tir.Buffer, tile: Tile, epilogue: Epilogue) -> None:
    """Add the sums of all splits up; a thread has one result."""
    size = tile.samples * tile.rows
    blocks = -(-size // REDUCTION_THREADS)
    with (
        launch(blocks, REDUCTION_THREADS) as (block, thread),
        each(size, block * REDUCTION_THREADS + thread, blocks * REDUCTION_THREADS) as at,
    ):
        total = allocate("total", (1,), FLOAT)
        assign(total, 0.0)
        with T.serial(0, tile.split) as split:
            assign(total, total[0] + parts[split * size + at])
        row = bind("row", tir.floormod(at, tile.rows))
        value = epilogue.apply(total[0], row, str(y.ty.dtype))
        T.buffer_store(y, value, [tir.floordiv(at, tile.rows), row])


@dataclass
class _Block:
    """The work of one block, as one of its threads sees it."""

    tile: GemmTile
    packed: PackedWeight
    arrays: dict[str, tir.Buffer]
    block: Expr
    thread: Expr

    def emit(
        self, x: tir.Buffer, y: tir.Buffer, parts: tir.Buffer | None, epilogue: Epilogue
    ) -> None:
        """Compute the tile of the block and store it, to ``parts`` where columns are split."""
        tile = self.tile
        self.place = place_of(tile, self.block)
        first, steps = self.place.first_step, self.place.steps
        samples, rows = self._loads(x)
        self._clear()
        for loads in (samples, rows):
            loads.open()
            loads.load(first * tile.depth)
            loads.store(tir.const(0, "int32"))
        barrier()
        with T.serial(0, steps) as step:
            following = (first + step + 1) * tile.depth
            with T.If(step + 1 < steps), T.Then():
                samples.load(following)
                rows.load(following)
            self._multiply(samples, rows, tir.floormod(step, 2))
            with T.If(step + 1 < steps), T.Then():
                samples.store(tir.floormod(step + 1, 2))
                rows.store(tir.floormod(step + 1, 2))
            barrier()
        self._store(y, parts, epilogue)

    def _loads(self, x: tir.Buffer) -> tuple[Loads, Loads]:
        """Make the loads of both operands, and allocate their shared memory."""
        tile, thread = self.tile, self.thread
        first, lines, stride = self.place.first_sample, tile.block_samples, tile.sample_stride
        samples = GridLoads("samples", x, tile, first, lines, stride, thread)
        operands = ("rows", self.place.first_row, tile.block_rows, tile.row_stride)
        name, first, lines, stride = operands
        if self.packed.form == "dense":
            values = self.arrays["values"]
            return samples, GridLoads(name, values, tile, first, lines, stride, thread)
        codes, codebook = self.arrays["codes"], self.arrays["codebook"]
        loads = CodeLoads(
            name, codes, tile, first, lines, stride, thread, codebook, self.packed.code_bits
        )
        return samples, loads

    def _clear(self) -> None:
        tile = self.tile
        count = tile.thread_samples * tile.thread_rows
        self.sums = allocate("sums", (count,), FLOAT)
        for number in range(count):
            assign(self.sums, 0.0, number)

    def _multiply(self, samples: Loads, rows: Loads, half: Expr) -> None:
        """Multiply the part of the columns in a half of the shared memory."""
        tile = self.tile
        of_samples = allocate("of_samples", (tile.thread_samples,), FLOAT)
        of_rows = allocate("of_rows", (tile.thread_rows,), FLOAT)
        sample = tir.floordiv(self.thread, tile.row_threads) * tile.thread_samples
        row = tir.floormod(self.thread, tile.row_threads) * GROUP
        with T.serial(0, tile.depth) as column:
            place = half * tile.depth + column
            first = bind("sample_place", place * tile.sample_stride + sample)
            width = GROUP if tile.thread_samples % GROUP == 0 else 1
            for start in range(0, tile.thread_samples, width):
                _copy(samples.tile_of, first + start, of_samples, start, width)
            first = bind("row_place", place * tile.row_stride + row)
            for group in range(tile.thread_rows // GROUP):
                # Neighbours read neighbouring vectors.
                there = first + group * tile.row_threads * GROUP
                _copy(rows.tile_of, there, of_rows, group * GROUP, GROUP)
            for m in range(tile.thread_samples):
                for n in range(tile.thread_rows):
                    at = m * tile.thread_rows + n
                    assign(self.sums, self.sums[at] + of_samples[m] * of_rows[n], at)

    def _store(self, y: tir.Buffer, parts: tir.Buffer | None, epilogue: Epilogue) -> None:
        """Store the sums of the thread, those that are inside."""
        tile = self.tile
        sample = self.place.first_sample + (
            tir.floordiv(self.thread, tile.row_threads) * tile.thread_samples
        )
        lane = tir.floormod(self.thread, tile.row_threads) * GROUP
        whole = parts is not None and tile.rows % GROUP == 0
        for group in range(tile.thread_rows // GROUP):
            first = bind("row", self.place.first_row + lane + group * tile.row_threads * GROUP)
            for m in range(tile.thread_samples):
                at = m * tile.thread_rows + group * GROUP
                line = bind("sample", sample + m)
                if parts is not None:
                    line_of_parts = (self.place.split * tile.samples + line) * tile.rows
                if whole:
                    with T.If(tir.And(line < tile.samples, first < tile.rows)), T.Then():
                        place = tir.Ramp(line_of_parts + first, 1, GROUP)
                        T.buffer_store(parts, self.sums[tir.Ramp(at, 1, GROUP)], [place])
                    continue
                for n in range(GROUP):
                    row = first + n
                    with T.If(tir.And(line < tile.samples, row < tile.rows)), T.Then():
                        if parts is not None:
                            assign(parts, self.sums[at + n], line_of_parts + row)
                        else:
                            value = epilogue.apply(self.sums[at + n], row, str(y.ty.dtype))
                            T.buffer_store(y, value, [line, row])


def _copy(source: tir.Buffer, place: Expr, target: tir.Buffer, start: int, width: int) -> None:
    """Copy ``width`` neighbours from shared memory to registers."""
    if width == 1:
        assign(target, source[place], start)
    else:
        T.buffer_store(target, source[tir.Ramp(place, 1, width)], [tir.Ramp(start, 1, width)])
