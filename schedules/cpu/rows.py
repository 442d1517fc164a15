"""Small batches (GEMV and its kin): rows in lockstep across the lanes.

Each row and sample has a sum of its own:

    parallel over slices of L rows:
        for each step, for each lane: column, value
            for each sample m: sum[m, lane] += value * x[m, column]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, bind

# A parallel loop costs some microseconds: below this many multiplications it does not pay.
PARALLEL_MULTIPLICATIONS = 30_000

Store = Callable[[Expr, Expr, Expr], None]


def worth_parallel(multiplications: float) -> bool:
    """Whether a loop with so much work is spread over the threads."""
    return multiplications >= PARALLEL_MULTIPLICATIONS


def emit_rows(
    reader: WeightReader,
    samples: int,
    source: tir.Buffer,
    store: Store,
    *,
    parallel: bool,
    slices: tuple[int, int] | None = None,
) -> None:
    """Emit ``store(sample, row, sum of weight[row, column] * source[sample, column])``.

    ``slices`` restricts the rows to a range of slices.
    """
    packed = reader.packed
    begin, end = slices if slices is not None else (0, packed.slices)
    zero = tir.const(0, reader.accumulator)
    loop = T.parallel if parallel else T.serial
    with loop(begin, end) as index:
        IRBuilder.name("slice", index)
        sums = allocate("sums", (samples, packed.lanes), reader.accumulator)
        column = allocate("column", (packed.lanes,), "int32")
        with T.grid(samples, packed.lanes) as (sample, lane):
            T.buffer_store(sums, zero, [sample, lane])
        with T.serial(0, packed.lanes) as lane:
            T.buffer_store(column, tir.const(-1, "int32"), [lane])
        with (
            reader.stream(index),
            T.serial(0, reader.steps(index)) as step,
            reader.each_lane(index, step) as (lane, gap, value),
        ):
            if reader.every_column:
                place: Expr = step
            else:
                T.buffer_store(column, column[lane] + gap + 1, [lane])
                # Lanes padded to the longest of the slice run past the last column, with zeros.
                place = bind("place", tir.min(column[lane], packed.columns - 1))
            with T.serial(0, samples) as sample:
                term = value * tir.Cast(reader.accumulator, source[sample, place])
                T.buffer_store(sums, sums[sample, lane] + term, [sample, lane])
        with T.serial(0, packed.lanes) as lane:
            row = reader.row(index, lane)
            with guard(row, packed), T.serial(0, samples) as sample:
                store(sample, row, sums[sample, lane])


@contextmanager
def guard(row: Expr, packed: PackedWeight) -> Iterator[None]:
    """``if row < rows`` around the stores of a slice, where the last slice is not full."""
    if packed.rows % packed.lanes == 0:
        yield
        return
    with T.If(row < packed.rows), T.Then():
        yield
