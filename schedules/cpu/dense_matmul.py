"""Matrix product of many samples with a dense weight, packed into panels.

    parallel over blocks of samples and panels:
        for each block of columns (its part of the panel stays in the first or second cache):
            for each tile of samples: sums in registers, loaded from and stored to a small buffer
        epilogue

A panel is a slice of the packed weight, (columns, lanes): the two vectors of outputs of a column
stand side by side, as two streams would take each other's place in the cache where they are a power
of two apart. Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008),
without packing x: a tile reads one number a row and column of it, straight from where it stands.
"""

from __future__ import annotations

import math

import tvm
from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.register_tile import (
    RegisterTile,
    even_parts,
    lanes_of,
    span,
    tile_rows,
)
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, argument, bind

PANEL_VECTORS = 2
"""Vectors of outputs of a panel."""
COLUMN_BLOCK = 384
"""Columns of a block: 48 KB of a panel of float32 in vectors of 16."""
SAMPLE_BLOCK = 96
"""Samples of a block, which share what is read of the weight."""
CACHE_SET_STRIDE = 2048
"""Rows of x that are a multiple of so many bytes apart fall into one or two sets of the cache."""
ROW_PADDING = 16
"""Elements behind each row of a copy that does not."""


def dense_matmul(
    packed: PackedWeight,
    samples: int,
    dtype: str,
    epilogue: Epilogue,
    accumulator: str,
    *,
    vector: int,
) -> tir.PrimFunc:
    """Kernel ``y[m, o] = epilogue(sum_k x[m, k] * weight[o, k])`` over a dense weight.

    Parameters of the kernel: x (samples, columns), the packed values, scale and bias, y (samples,
    rows). ``vector`` is the number of float32 elements in a vector register.
    """
    reader = WeightReader(packed, accumulator)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("dense_matmul")
        x = argument("x", (samples, packed.columns), dtype)
        reader.declare()
        epilogue.declare()
        y = argument("y", (samples, packed.rows), dtype)
        kernel = _DenseMatmul(packed, samples, epilogue, accumulator, vector)
        kernel.emit(*_rows_of(x, dtype), reader.buffers["values"], y)
    return builder.get()


def _rows_of(x: tir.Buffer, dtype: str) -> tuple[tir.Buffer, int]:
    """Return ``x``, flat, and the elements from row to row; a copy where rows are ill placed.

    The copy is flat as TVM takes elements that nobody reads out of a buffer of several axes.
    """
    samples, columns = (int(size) for size in x.shape)
    if columns * tvm.DataType(dtype).bits // 8 % CACHE_SET_STRIDE or samples == 1:
        return IRBuilder.name(
            "flat", T.decl_buffer((samples * columns,), dtype, data=x.data)
        ), columns
    pitch = columns + ROW_PADDING
    spread = allocate("spread", (samples * pitch,), dtype, "global")
    loop = T.parallel if worth_parallel(samples * columns) else T.serial
    with loop(0, samples) as sample, T.serial(0, columns) as column:
        T.buffer_store(spread, x[sample, column], [sample * pitch + column])
    return spread, pitch


class _DenseMatmul:
    def __init__(
        self,
        packed: PackedWeight,
        samples: int,
        epilogue: Epilogue,
        accumulator: str,
        vector: int,
    ) -> None:
        self.packed, self.samples = packed, samples
        self.epilogue, self.accumulator = epilogue, accumulator
        self.width = packed.lanes
        self.lanes = math.gcd(lanes_of(accumulator, vector), self.width)
        self.vectors = self.width // self.lanes
        self.tile_rows = tile_rows(self.vectors, vector)

    def emit(self, x: tir.Buffer, pitch: int, values: tir.Buffer, y: tir.Buffer) -> None:
        """Emit the kernel's loops over rows of ``x`` that are ``pitch`` elements apart."""
        self.pitch = pitch
        panels = self.packed.slices
        block = even_parts(self.samples, SAMPLE_BLOCK)[0]
        blocks = -(-self.samples // block)
        parallel = worth_parallel(self.samples * self.packed.rows * self.packed.columns)
        loop = T.parallel if parallel and blocks * panels > 1 else T.serial
        with loop(0, blocks * panels) as job:
            panel = bind("panel", tir.floormod(job, panels))
            # The last block overlaps the one before it where the blocks are not equal.
            begin = tir.floordiv(job, panels) * block
            first = bind("first", tir.min(begin, self.samples - block))
            self._job(x, values, y, first, panel, block)

    def _job(
        self, x: tir.Buffer, values: tir.Buffer, y: tir.Buffer, first: Expr, panel: Expr, block: int
    ) -> None:
        sums = allocate("sums", (block * self.width,), self.accumulator)
        with T.serial(0, block) as sample, T.serial(0, self.width) as lane:
            zero = tir.const(0, self.accumulator)
            T.buffer_store(sums, zero, [sample * self.width + lane])
        columns, rest = divmod(self.packed.columns, COLUMN_BLOCK)
        if columns:
            with T.serial(0, columns) as number:
                begin = bind("begin", number * COLUMN_BLOCK)
                self._columns(x, values, sums, first, panel, block, begin, COLUMN_BLOCK)
        if rest:
            begin = tir.const(columns * COLUMN_BLOCK, "int32")
            self._columns(x, values, sums, first, panel, block, begin, rest)
        outputs = tir.min(self.packed.rows - panel * self.width, self.width)
        whole = self.packed.rows % self.width == 0
        with (
            T.serial(0, block) as sample,
            T.serial(0, self.width if whole else outputs) as lane,
        ):
            total = sums[sample * self.width + lane]
            channel = panel * self.width + lane
            value = self.epilogue.apply(total, channel, y.ty.dtype)
            T.buffer_store(y, value, [first + sample, channel])

    def _columns(
        self,
        x: tir.Buffer,
        values: tir.Buffer,
        sums: tir.Buffer,
        first: Expr,
        panel: Expr,
        block: int,
        begin: Expr,
        count: int,
    ) -> None:
        """Add a block of columns to the sums of all samples of the block."""
        parts = even_parts(block, self.tile_rows)
        for rows in sorted(set(parts), reverse=True):
            done = sum(part for part in parts if part > rows)
            with T.serial(0, parts.count(rows)) as number:
                row = bind("row", done + number * rows)
                self._tile(x, values, sums, first, panel, row, rows, begin, count)

    def _tile(
        self,
        x: tir.Buffer,
        values: tir.Buffer,
        sums: tir.Buffer,
        first: Expr,
        panel: Expr,
        row: Expr,
        rows: int,
        begin: Expr,
        count: int,
    ) -> None:
        lanes = self.lanes
        tile = RegisterTile(rows, self.vectors, lanes, self.accumulator)

        def place(r: int, v: int) -> Expr:
            return span((row + r) * self.width + v * lanes, lanes)

        for r, v in tile.places():
            tile.set(r, v, sums[place(r, v)])
        with T.serial(0, count) as step:
            column = begin + step
            vector_type = f"{self.accumulator}x{lanes}" if lanes > 1 else self.accumulator
            vectors = [
                tir.Cast(vector_type, values[panel, column, span(v * lanes, lanes)])
                for v in range(self.vectors)
            ]
            numbers = [
                tir.Cast(self.accumulator, x[(first + row + r) * self.pitch + column])
                for r in range(rows)
            ]
            tile.multiply(numbers, vectors)
        for r, v in tile.places():
            T.buffer_store(sums, tile.get(r, v), [place(r, v)])
