"""Small batches: rows in lockstep across the lanes, one sum for each row and sample (GEMV and its kin).

    parallel over slices of L rows:
        for each step: for each lane: column, value; for each sample m: sum[m, lane] += value * x[m, column]
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.weight_reader import Expr, WeightReader, allocate, bind

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
    """Emit ``store(sample, row, sum over columns of weight[row, column] * source[sample, column])``.

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
            T.serial(0, packed.lanes) as lane,
        ):
            gap, value = reader.read(index, step, lane)
            if reader.every_column:
                place: Expr = step
            else:
                T.buffer_store(column, column[lane] + gap + 1, [lane])
                # Lanes padded to the longest of the slice run past the last column, with the value zero.
                place = bind("place", tir.min(column[lane], packed.columns - 1))
            with T.serial(0, samples) as sample:
                term = value * tir.Cast(reader.accumulator, source[sample, place])
                T.buffer_store(sums, sums[sample, lane] + term, [sample, lane])
        with T.serial(0, packed.lanes) as lane:
            row = reader.row(index, lane)
            with guard(row, packed), T.serial(0, samples) as sample:
                store(sample, row, sums[sample, lane])


class guard:  # noqa: N801 - reads as a statement of the kernel
    """``if row < rows`` around the stores of a slice, where the last slice is not full."""

    def __init__(self, row: Expr, packed: PackedWeight) -> None:
        partial = packed.rows % packed.lanes != 0
        self.frames = [T.If(row < packed.rows), T.Then()] if partial else []

    def __enter__(self) -> None:
        for frame in self.frames:
            frame.__enter__()

    def __exit__(self, *error: object) -> None:
        for frame in reversed(self.frames):
            frame.__exit__(*error)
