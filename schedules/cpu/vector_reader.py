"""A packed weight read by whole vectors: all lanes of a slice at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.codegen.code_grid import code_width, codes_per_word
from dcc.codegen.vector_units import VectorUnit, lanes_of, spread
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, bind


def hold(name: str, value: Expr, kind: str, lanes: int) -> Expr:
    """Name a vector: TVM cannot analyse a bound one, LLVM keeps a local buffer in a register."""
    local = allocate(name, (lanes,), kind)
    T.buffer_store(local, value, [lanes_of(lanes)])
    return local[lanes_of(lanes)]


@dataclass(frozen=True)
class LaneEntries:
    """The entries of all lanes at one step, int32 and float32 vectors.

    Attributes
    ----------
    value
        The weights.
    gap
        Columns since the entry before; None where there are windows or every column has an entry.
    offset, window
        Place in the window, and its first column; None where there are none.
    """

    value: Expr
    gap: Expr | None = None
    offset: Expr | None = None
    window: Expr | None = None


@dataclass
class VectorReader(WeightReader):
    """Reads the entries of all lanes.

    Attributes
    ----------
    unit
        Instructions of the processor.
    table
        The codebook in registers, where it fits.
    """

    rows_schedule: ClassVar[str] = "vector_rows"

    unit: VectorUnit = field(kw_only=True)
    table: tir.Buffer | None = None

    def load_table(self) -> None:
        """Bring a codebook that fits into registers there."""
        if "codebook" not in self.buffers or self.packed.form == "dense":
            return
        codebook = self.buffers["codebook"]
        entries, lanes = int(codebook.ty.shape[0]), self.unit.lanes
        sizes = [size for size in sorted(self.unit.tables) if size >= entries]
        if not sizes:
            return
        table = allocate("table", (sizes[0],), "float32")
        # Other entries may stand above a code: the table repeats, so that their bits may stay.
        period = 1 << self._code_field
        for start in range(0, sizes[0], lanes):
            numbers = tir.Ramp(start, 1, lanes)
            if period < sizes[0]:
                numbers = numbers & spread(period - 1, "int32", lanes)
            # Behind the codebook its last entry stands again: no read past the array.
            index = tir.min(numbers, spread(entries - 1, "int32", lanes))
            values = self.unit.gather(codebook, [0], index)
            T.buffer_store(table, values, [tir.Ramp(start, 1, lanes)])
        self.table = table

    @property
    def _code_field(self) -> int:
        """Bits from the lowest of a code to the next entry; those between are zeros."""
        if self._grid:
            return code_width(self.packed.code_bits)
        if self._words:
            return 32 // self.packed.steps_of_word - self.packed.offset_bits
        return 32

    @property
    def reads_windows(self) -> bool:
        """Those that the unit can pick from."""
        return self.packed.window in self.unit.windows

    @property
    def steps_at_once(self) -> int:
        """How many steps one read yields."""
        if self._grid:
            return codes_per_word(self.packed.code_bits)
        return self.packed.steps_of_word if self._words else self.packed.refill_steps

    @property
    def steps_left(self) -> int:
        """Steps behind the last whole read: columns of a grid's last word."""
        return self.packed.columns % self.steps_at_once if self._grid else 0

    @property
    def _grid(self) -> bool:
        return self.packed.form == "codebook"

    @property
    def _words(self) -> bool:
        return bool(self.packed.window) and "entries" in self.packed.arrays

    def read_lanes(self, slice_index: Expr, number: Expr) -> list[LaneEntries]:
        """Read the entries of every lane, of the steps from ``number * steps_at_once`` on."""
        if self._grid:
            return self._read_word(slice_index, number)
        if self._words:
            return self._read_entries(slice_index, number)
        count = self.steps_at_once
        return [self._read_step(slice_index, number * count + part) for part in range(count)]

    def _read_step(self, slice_index: Expr, step: Expr) -> LaneEntries:
        if self.packed.window:
            window = self._window(slice_index, step)
            code = self._lane_codes(slice_index, step)
            offset = self._symbols("offsets", slice_index, step)
            value = self._values(code, slice_index, step)
            return LaneEntries(value, offset=offset, window=window)
        gap, code = self._gap_and_code(slice_index, step)
        return LaneEntries(self._values(code, slice_index, step), gap=gap)

    def _read_entries(self, slice_index: Expr, number: Expr) -> list[LaneEntries]:
        """Entries of the steps that stand in one word."""
        lanes, below = self.unit.lanes, self.packed.offset_bits
        together = self.packed.steps_of_word
        width = 32 // together
        first = self.buffers["bases"][slice_index] // together
        stored = self.buffers["entries"][first + number, lanes_of(lanes)]
        word = hold("word", stored, "uint32", lanes)
        entries = []
        for part in range(together):
            step = number * together + part
            entry = word >> spread(width * part, "uint32", lanes) if part else word
            code = word >> spread(width * part + below, "uint32", lanes)
            if self.table is None:
                code = code & spread((1 << self.packed.code_bits) - 1, "uint32", lanes)
            value = self._values(tir.Cast(f"int32x{lanes}", code), slice_index, step)
            offset = tir.Cast(f"int32x{lanes}", entry)
            window = self._window(slice_index, step)
            entries.append(LaneEntries(value, offset=offset, window=window))
        return entries

    def _read_word(self, slice_index: Expr, number: Expr) -> list[LaneEntries]:
        """Columns of a dense grid, whose codes stand in one word."""
        lanes, bits = self.unit.lanes, self.packed.code_bits
        stored = self.buffers["codes"][slice_index, number, lanes_of(lanes)]
        word = hold("word", stored, "uint32", lanes)
        entries = []
        for part in range(self.steps_at_once):
            code = word >> spread(part * code_width(bits), "uint32", lanes) if part else word
            if self.table is None:
                code = code & spread((1 << bits) - 1, "uint32", lanes)
            value = self._values(tir.Cast(f"int32x{lanes}", code), slice_index, number)
            entries.append(LaneEntries(value))
        return entries

    def _window(self, slice_index: Expr, step: Expr) -> Expr:
        window = self.buffers["windows"][self._place(slice_index, step)]
        return bind("window", tir.Cast("int32", window))

    def _gap_and_code(self, slice_index: Expr, step: Expr) -> tuple[Expr | None, Expr | None]:
        """Return (gap, code); no gap where every column has an entry, no code of raw values."""
        bits = self.packed.code_bits
        if "entries" in self.buffers:
            entry = self._symbols("entries", slice_index, step)
            if self.packed.gap_bits is None:
                return None, entry
            return entry >> self._all(bits), entry & self._all((1 << bits) - 1)
        gap = self._symbols("gaps", slice_index, step) if "gaps" in self.buffers else None
        return gap, self._lane_codes(slice_index, step)

    def _lane_codes(self, slice_index: Expr, step: Expr) -> Expr | None:
        return self._symbols("codes", slice_index, step) if "codes" in self.buffers else None

    def _all(self, value: int) -> Expr:
        return spread(value, "int32", self.unit.lanes)

    def _symbols(self, name: str, slice_index: Expr, step: Expr) -> Expr:
        lanes, every = self.unit.lanes, lanes_of(self.unit.lanes)
        symbols = self.buffers[name][self._place(slice_index, step), every]
        return hold(name, tir.Cast(f"int32x{lanes}", symbols), "int32", lanes)

    def _values(self, code: Expr | None, slice_index: Expr, step: Expr) -> Expr:
        every = lanes_of(self.unit.lanes)
        if self.packed.form == "dense":
            return self.buffers["values"][slice_index, step, every]
        if code is None:
            return self.buffers["values"][self._place(slice_index, step), every]
        if self.table is not None:
            return self.unit.lookup(self.table, code)
        return self.unit.gather(self.buffers["codebook"], [0], code)
