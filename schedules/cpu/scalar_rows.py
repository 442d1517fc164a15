"""The rows kernel where vectors cannot gather: the rows of a slice in flight, on scalars.

    parallel over slices of L rows:
        for each step:
            word = the entries of all L rows
            for each row, unrolled: column += gap; sum += codebook[code] * x[column + step]

Scalar loads go on every cycle, where loads into the lanes of a vector occupy its unit as well. A
row is too slow alone, as each addition waits for the one before. The gap's 1 is in ``step``, which
all rows share. x is read from a copy with zeros behind it: the fillers of a slice's shorter rows
run past the last column, and need no check so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.rows import guard
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, bind

Store = Callable[[Expr, Expr, Expr], None]
MOST_LANES = 8
"""Rows whose columns and sums stay in registers."""


class ScalarReader(WeightReader):
    """Reads the entries of all rows of a step, one scalar each."""

    rows_schedule: ClassVar[str] = "scalar_rows"

    def declare(self) -> None:
        """Declare the packed arrays, and the entries of a step as one word."""
        super().declare()
        self._words: tir.Buffer | None = None
        if "entries" not in self.buffers or "entries" in self.packed.symbols:
            return
        entries = self.packed.arrays["entries"]
        bits = 8 * entries.itemsize * self.packed.lanes
        if bits in (32, 64):
            data = self.buffers["entries"].data
            words = T.decl_buffer((len(entries),), f"uint{bits}", data=data)
            self._words = IRBuilder.name("words", words)

    def entries_of(self, slice_index: Expr, step: Expr) -> list[tuple[Expr, Expr]]:
        """Read (gap, value) of every row."""
        lanes = range(self.packed.lanes)
        if self._words is not None:
            return self._from_word(self._words, slice_index, step)
        gaps: list[Expr | None] = [None for _ in lanes]
        if len(self.packed.symbols) > 1:  # all gaps come before the codes
            gaps = [self._symbol("gaps", slice_index, step, lane) for lane in lanes]
        return [
            self.read(slice_index, step, lane, gap) for lane, gap in zip(lanes, gaps, strict=True)
        ]

    def _from_word(
        self, words: tir.Buffer, slice_index: Expr, step: Expr
    ) -> list[tuple[Expr, Expr]]:
        packed = self.packed
        word = bind("word", words[self._place(slice_index, step)])
        kind = str(words.ty.dtype)
        width = 8 * packed.arrays["entries"].itemsize
        gap_bits, code_bits = packed.gap_bits or 0, packed.code_bits

        def field(first: int, bits: int) -> Expr:
            mask = tir.const((1 << bits) - 1, kind)
            return tir.Cast("int32", (word >> tir.const(first, kind)) & mask)

        found = []
        for lane in range(packed.lanes):
            code = bind("code", field(lane * width, code_bits))
            value = tir.Cast(self.accumulator, self.buffers["codebook"][code])
            gap = field(lane * width + code_bits, gap_bits)
            found.append((bind("gap", gap), bind("value", value)))
        return found


def fits_scalars(packed: PackedWeight, accumulator: str) -> bool:
    """Whether :func:`emit_scalar_rows` can compute the product."""
    entry_wise = "bases" in packed.arrays and not packed.window and not packed.every_column
    return entry_wise and packed.lanes <= MOST_LANES and accumulator == "float32"


def emit_scalar_rows(
    reader: ScalarReader,
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
    data, pitch = _padded(source, samples, packed)
    loop = T.parallel if parallel else T.serial
    with loop(begin, end) as index:
        IRBuilder.name("slice", index)
        sums = allocate("sums", (samples * packed.lanes,), reader.accumulator)
        column = allocate("column", (packed.lanes,), "int64")
        for place in range(samples * packed.lanes):
            T.buffer_store(sums, tir.const(0, reader.accumulator), [place])
        for lane in range(packed.lanes):
            T.buffer_store(column, tir.const(0, "int64"), [lane])
        together = packed.refill_steps  # a decoder refills behind them

        def step_of(step: Expr) -> None:
            for lane, (gap, value) in enumerate(reader.entries_of(index, step)):
                T.buffer_store(column, column[lane] + tir.Cast("int64", gap), [lane])
                for sample in range(samples):
                    place = column[lane] + tir.Cast("int64", step) + sample * pitch
                    at = sample * packed.lanes + lane
                    term = value * tir.Cast(reader.accumulator, data[place])
                    T.buffer_store(sums, sums[at] + term, [at])

        with reader.stream(index), T.serial(0, reader.steps(index) // together) as number:
            for part in range(together):
                step_of(number * together + part)
        for lane in range(packed.lanes):
            row = reader.row(index, lane)
            with guard(row, packed):
                for sample in range(samples):
                    store(sample, row, sums[sample * packed.lanes + lane])


def _padded(source: tir.Buffer, samples: int, packed: PackedWeight) -> tuple[tir.Buffer, int]:
    """Return x, flat, with as many zeros behind each sample as fillers run past it; its pitch."""
    dtype, columns = str(source.ty.dtype.dtype), packed.columns
    beyond = columns_beyond(packed)
    if not beyond:
        flat = T.decl_buffer((samples * columns,), dtype, data=source.data)
        return IRBuilder.name("flat", flat), columns
    pitch = columns + beyond
    padded = allocate("padded", (samples * pitch,), dtype, "global")
    with T.serial(0, samples) as sample:
        with T.serial(0, columns) as place:
            T.buffer_store(padded, source[sample, place], [sample * pitch + place])
        with T.serial(columns, pitch) as place:
            T.buffer_store(padded, tir.const(0, dtype), [sample * pitch + place])
    return padded, pitch


def columns_beyond(packed: PackedWeight) -> int:
    """How far the fillers of the shorter rows of a slice run past the last column."""
    if "entries" in packed.arrays:
        gaps = packed.arrays["entries"].astype(np.int64) >> packed.code_bits
    else:
        gaps = packed.arrays["gaps"].astype(np.int64)
    if not len(gaps):
        return 0
    bases = packed.arrays["bases"].astype(np.int64)
    filled = np.flatnonzero(np.diff(bases))
    last = np.add.reduceat(gaps + 1, bases[filled], axis=0) - 1
    return max(int(last.max()) - (packed.columns - 1), 0)
