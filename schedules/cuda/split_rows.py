"""Products of a weight with a few vectors: rows split over the threads of blocks.

A block computes some rows. Its threads decode one part of a row each (``codegen.row_split``),
whose inputs stand in shared memory, and their sums are added up there:

    for each phase (range of columns):
        copy the columns of x to shared memory
        for each step of the thread's lane: column, value
            for each sample m: sum[m] += value * x[m, column]
    add the sums of a row's segments up; scale, bias, activation
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.decode_stage import TABLES_ATTRIBUTE
from dcc.codegen.packed import PackedWeight
from dcc.codegen.row_split import RowSplit
from dcc.schedules.cuda.blocks import assign, barrier, each, launch, shared
from dcc.schedules.cuda.part_reader import PartReader
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.weight_reader import Expr, allocate, argument, bind


def split_rows(
    packed: PackedWeight, samples: int, dtype: str, epilogue: Epilogue, accumulator: str
) -> tir.PrimFunc:
    """Kernel ``y[m, o] = epilogue(sum_k x[m, k] * weight[o, k])``.

    Parameters of the kernel: x (samples, columns), the packed arrays, scale and bias, y (samples,
    rows).
    """
    assert packed.split is not None
    split = packed.split
    reader = PartReader(packed, accumulator)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("matmul_split_rows")
        x = argument("x", (samples, packed.columns), dtype)
        reader.declare()
        epilogue.declare()
        y = argument("y", (samples, packed.rows), dtype)
        with launch(split.blocks(packed.rows), split.threads) as (block, thread):
            _Block(reader, split, samples, accumulator, block, thread).emit(x, y, epilogue)
    return builder.get()


@dataclass
class _Block:
    """The work of one block, as one of its threads sees it."""

    reader: PartReader
    split: RowSplit
    samples: int
    accumulator: str
    block: Expr
    thread: Expr

    def emit(self, x: tir.Buffer, y: tir.Buffer, epilogue: Epilogue) -> None:
        """Compute the rows of the block."""
        split, packed, samples = self.split, self.reader.packed, self.samples
        self.inputs = shared("inputs", samples * max(packed.reach, split.threads), self.accumulator)
        self.sums = allocate("sums", (samples,), self.accumulator)
        for sample in range(samples):
            assign(self.sums, 0.0, sample)
        with self._tables():
            self.reader.stage(self.thread, split.threads)
            if split.phases == 1:
                self._phase(x, tir.const(0, "int32"))
            else:
                with T.serial(0, split.phases) as phase:
                    self._phase(x, phase)
        self._add_up()
        self._store(y, epilogue)

    def _tables(self) -> T.attr:
        """Region whose decode tables are copied to shared memory."""
        return T.attr(self.split.threads, TABLES_ATTRIBUTE, self.thread)

    def _phase(self, x: tir.Buffer, phase: Expr) -> None:
        """Add the products with one range of columns."""
        split, packed = self.split, self.reader.packed
        warps = split.threads // packed.lanes
        index = bind(
            "slice",
            (self.block * split.phases + phase) * warps + tir.floordiv(self.thread, packed.lanes),
        )
        lane = bind("lane", tir.floormod(self.thread, packed.lanes))
        self.reader.open(index, lane)
        if split.phases > 1:
            barrier()  # nobody reads the columns before any more
        self._copy_columns(x, phase)
        barrier()
        for column, value in self.reader.entries(index, lane):
            for sample in range(self.samples):
                term = value * self.inputs[column + sample * packed.reach]
                assign(self.sums, self.sums[sample] + term, sample)

    def _copy_columns(self, x: tir.Buffer, phase: Expr) -> None:
        """Copy the columns of a phase; zeros stand behind them."""
        split, packed = self.split, self.reader.packed
        for sample in range(self.samples):
            with each(packed.reach, self.thread, split.threads) as place:
                column = phase * split.phase_columns + place
                inside = column < packed.columns
                if packed.reach > split.phase_columns:
                    inside = tir.And(inside, place < split.phase_columns)
                value = tir.Cast(self.accumulator, x[sample, column])
                zero = tir.const(0, self.accumulator)
                chosen = tir.if_then_else(inside, value, zero)
                assign(self.inputs, chosen, place + sample * packed.reach)

    def _add_up(self) -> None:
        """Leave the sums of all threads in shared memory."""
        barrier()
        for sample in range(self.samples):
            assign(self.inputs, self.sums[sample], self.thread + sample * self.split.threads)
        barrier()

    def _store(self, y: tir.Buffer, epilogue: Epilogue) -> None:
        """Add the segments of each row up and store it."""
        split, packed = self.split, self.reader.packed
        count = self.samples * split.block_rows
        with each(count, self.thread, split.threads) as place:
            sample = tir.floordiv(place, split.block_rows)
            line = tir.floormod(place, split.block_rows)
            total = allocate("total", (1,), self.accumulator)
            assign(total, 0.0)
            with T.unroll(0, split.segments) as segment:
                part = sample * split.threads + segment * split.block_rows + line
                assign(total, total[0] + self.inputs[part])
            row = self.reader.real_row(self.block * split.block_rows + line)
            with T.If(row < packed.rows), T.Then():
                T.buffer_store(y, epilogue.apply(total[0], row, str(y.ty.dtype)), [sample, row])
