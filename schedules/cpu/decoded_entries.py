"""The weights of some slices, decoded once and used for many pixels.

Of each entry the value and the place of its column in the panel of inputs; step by step, the lanes
of a step side by side. Behind a lane's last weight stands a place beyond every panel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.codegen.vector_units import VectorUnit, lanes_of, spread
from dcc.schedules.cpu.vector_reader import LaneEntries, VectorReader, hold
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, bind

BEYOND = 2**31 - 1


def pixel_reader(packed: PackedWeight, accumulator: str, unit: VectorUnit | None) -> WeightReader:
    """Reader for the pixel kernel: of whole vectors where lanes and types allow it."""
    floats = [
        array.dtype.name for name, array in packed.arrays.items() if name in ("codebook", "values")
    ]
    vectors = unit is not None and unit.lanes == packed.lanes
    if unit is not None and vectors and accumulator == "float32" and floats == ["float32"]:
        return VectorReader(packed, accumulator, unit=unit)
    return WeightReader(packed, accumulator)


@dataclass
class DecodedEntries:
    """Entries of slices ``first`` to ``last``.

    Attributes
    ----------
    values, places
        Entry ``step`` of a lane stands at ``(start(slice) + step) * lanes + lane``.
    pitch
        Elements between the columns of a panel.
    first_column
        Column of the panel where the inputs of an output channel begin (groups).
    """

    reader: WeightReader
    pitch: int
    first_column: Callable[[Expr], Expr]
    most_steps: int
    most_slices: int

    def open(self) -> None:
        """Allocate the buffers, for ``most_steps`` steps of ``most_slices`` slices."""
        lanes = self.reader.packed.lanes
        size = (self.most_steps + self.most_slices) * lanes
        self.values = allocate("values", (size,), self.reader.accumulator, "global")
        self.places = allocate("places", (size,), "int32", "global")
        self.column = allocate("column", (lanes,), "int32")
        self.lengths = allocate("lengths", (lanes,), "int32")

    def start(self, first: Expr, index: Expr) -> Expr:
        """First step of slice ``index`` in the buffers; each has a step more than entries."""
        if "bases" in self.reader.buffers:
            bases = self.reader.buffers["bases"]
            return bind("start", bases[index] - bases[first] + index - first)
        return bind("start", (index - first) * (self.reader.packed.columns + 1))

    def decode(self, first: Expr, last: Expr) -> None:
        """Decode slices ``first`` to ``last``, without it."""
        lanes = self.reader.packed.lanes
        if isinstance(self.reader, VectorReader):
            self.reader.load_table()
        with T.serial(first, last) as index:
            start = self.start(first, index)
            with T.serial(0, lanes) as lane:
                T.buffer_store(self.lengths, tir.const(0, "int32"), [lane])
                origin = self.first_column(self.reader.row(index, lane))
                before = origin if self.reader.every_column else origin - 1
                T.buffer_store(self.column, before, [lane])
            with self.reader.stream(index):
                self._decode_slice(index, start)
            with T.serial(0, lanes) as lane:
                end = (start + self.lengths[lane]) * lanes + lane
                T.buffer_store(self.places, tir.const(BEYOND, "int32"), [end])

    def _decode_slice(self, index: Expr, start: Expr) -> None:
        """Decode all steps of a slice."""
        reader = self.reader
        steps = bind("steps", reader.steps(index))
        if not isinstance(reader, VectorReader):
            with T.serial(0, steps) as step:
                self._decode_lane(index, step, start)
            return
        count = reader.steps_at_once
        # A word of codes may say more columns than there are.
        ragged = reader.every_column and reader.packed.columns % count > 0
        with T.serial(0, (steps + count - 1) // count) as number:
            for part, entries in enumerate(reader.read_lanes(index, number)):
                step = number * count + part
                if not ragged:
                    self._keep_lanes(entries, step, start)
                    continue
                with T.If(step < steps), T.Then():
                    self._keep_lanes(entries, step, start)

    def _keep_lanes(self, entries: LaneEntries, step: Expr, start: Expr) -> None:
        """Keep one entry of every lane, as vectors."""
        lanes = self.reader.packed.lanes
        every, here = lanes_of(lanes), tir.Ramp((start + step) * lanes, 1, lanes)
        value = hold("value", entries.value, "float32", lanes)
        if entries.gap is None:
            place = self.column[every] + tir.Broadcast(step, lanes)
        else:
            moved = self.column[every] + entries.gap + spread(1, "int32", lanes)
            T.buffer_store(self.column, moved, [every])
            place = self.column[every]
        T.buffer_store(self.values, value, [here])
        T.buffer_store(self.places, place * spread(self.pitch, "int32", lanes), [here])
        # Fillers behind the last weight of a lane are dropped, the others multiply by zero.
        kept = value != spread(0.0, "float32", lanes)
        length = tir.Select(kept, tir.Broadcast(step + 1, lanes), self.lengths[every])
        T.buffer_store(self.lengths, length, [every])

    def _decode_lane(self, index: Expr, step: Expr, start: Expr) -> None:
        """One entry of every lane, one lane after the other."""
        lanes = self.reader.packed.lanes
        with self.reader.each_lane(index, step) as (lane, gap, value):
            here = (start + step) * lanes + lane
            if self.reader.every_column:
                place: Expr = self.column[lane] + step
            else:
                T.buffer_store(self.column, self.column[lane] + gap + 1, [lane])
                place = self.column[lane]
            T.buffer_store(self.values, value, [here])
            T.buffer_store(self.places, place * self.pitch, [here])
            kept = value != tir.const(0, self.reader.accumulator)
            T.buffer_store(self.lengths, tir.Select(kept, step + 1, self.lengths[lane]), [lane])
