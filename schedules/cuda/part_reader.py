"""How a thread reads its part of a row: entry by entry, as column and value.

The uncoded entries of the sparse form and the codes of the codebook form are read some words at a
time; symbols that ``codegen.decode_stage.fold_decode`` replaces one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.codegen.code_grid import code_width, codes_per_word
from dcc.codegen.decode_stage import STREAM_ATTRIBUTE
from dcc.codegen.packed import PackedWeight
from dcc.codegen.packed_split import entry_bytes
from dcc.schedules.cuda.blocks import assign, each, shared, variable
from dcc.schedules.weight_reader import Expr, allocate, argument, bind

WORD_BITS = 32
Entry = tuple[Expr, Expr]


@dataclass
class PartReader:
    """Reads ``packed``, whose rows are split; values have the type ``accumulator``."""

    packed: PackedWeight
    accumulator: str
    buffers: dict[str, tir.Buffer] = field(default_factory=dict)

    def declare(self) -> None:
        """Declare the packed arrays as parameters of the kernel, in their order."""
        for name, array in self.packed.arrays.items():
            self.buffers[name] = argument(name, array.shape, array.dtype.name)

    def real_row(self, place: Expr) -> Expr:
        """Row at a place; at least the number of rows where there is none."""
        if "order" in self.buffers:
            return bind("row", tir.Cast("int32", self.buffers["order"][place]))
        return bind("row", place)

    def stage(self, thread: Expr, threads: int) -> None:
        """Copy the codebook to shared memory; a barrier has to follow."""
        if "codebook" not in self.buffers:
            return
        source = self.buffers["codebook"]
        size = int(source.ty.shape[0])
        self.codebook = shared("values_of_codes", size, self.accumulator)
        with each(size, thread, threads) as place:
            assign(self.codebook, tir.Cast(self.accumulator, source[place]), place)

    def open(self, index: Expr, lane: Expr) -> None:
        """Load where the part ``lane`` of slice ``index`` begins, ahead of a barrier."""
        packed, split = self.packed, self.packed.split
        assert split is not None
        part = bind("part", index * packed.lanes + lane)
        if "origins" in self.buffers:
            origin = tir.Cast("int32", self.buffers["origins"][part])
        else:
            origin = tir.floormod(tir.floordiv(part, split.block_rows), split.segments)
            origin = origin * split.width
        self.column = variable("column", "int32", origin)
        if "bases" in self.buffers:
            bases = self.buffers["bases"]
            self.first = bind("first", bases[index])
            self.steps = bind("steps", bases[index + 1] - self.first)
        else:
            self.first = bind("first", index * split.width)
            self.steps = tir.const(split.width, "int32")

    def entries(self, index: Expr, lane: Expr) -> Iterator[Entry]:
        """Emit the loop over the part's entries around the body that the caller emits for each.

        To be iterated to its end: a word of several entries yields each.
        """
        if self.packed.form == "codebook":
            yield from self._codes(index, lane)
        elif self.packed.form == "sparse" and "entries" in self.buffers:
            yield from self._words(lane)
        else:
            yield from self._symbols(index, lane)

    def _words(self, lane: Expr) -> Iterator[Entry]:
        """Entries of the sparse form: several words a load, several entries a word."""
        packed, entries = self.packed, self.buffers["entries"]
        words = int(entries.ty.shape[2])
        bits = 8 * entry_bytes(packed.code_bits, packed.gap_bits)
        count = WORD_BITS // bits
        load = count * words
        held = allocate("held", (words,), "uint32")
        with T.serial(0, tir.floordiv(self.steps, load)) as turn:
            place = tir.floordiv(self.first, load) + turn
            for word in range(words) if words == 1 else (tir.Ramp(0, 1, words),):
                T.buffer_store(held, entries[place, lane, word], [word])
            for number in range(load):
                shift = number % count * bits
                entry = held[number // count] >> tir.const(shift, "uint32")
                if shift + bits < WORD_BITS:
                    entry = entry & tir.const((1 << bits) - 1, "uint32")
                yield self._joint(bind("entry", tir.Cast("int32", entry)))

    def _joint(self, entry: Expr) -> Entry:
        """Column and value of an entry of gap and code."""
        bits = self.packed.code_bits
        if self.packed.gap_bits is None:
            return self._next(None), self._value(entry)
        code = bind("code", entry & ((1 << bits) - 1))
        return self._next(entry >> bits), self._value(code)

    def _next(self, gap: Expr | None) -> Expr:
        """Step to the column of an entry and return it; the one behind it is kept."""
        here = self.column[0] if gap is None else self.column[0] + gap
        place = bind("place", here)
        assign(self.column, place + 1)
        return place

    def _value(self, code: Expr) -> Expr:
        return bind("value", self.codebook[code])

    def _codes(self, index: Expr, lane: Expr) -> Iterator[Entry]:
        """Columns of the codebook form, a word of codes at a time."""
        packed = self.packed
        assert packed.split is not None
        width = code_width(packed.code_bits)
        count = codes_per_word(packed.code_bits)
        with T.serial(0, packed.split.width // count) as turn:
            word = bind("word", self.buffers["codes"][index, turn, lane])
            first = bind("first_column", self.column[0] + turn * count)
            for number in range(count):
                code = word >> tir.const(number * width, "uint32")
                if (number + 1) * width < WORD_BITS:
                    code = code & tir.const((1 << width) - 1, "uint32")
                yield first + number, self._value(bind("code", tir.Cast("int32", code)))

    def _symbols(self, index: Expr, lane: Expr) -> Iterator[Entry]:
        """Entries one by one, as the huffman form and raw values have them."""
        with T.attr(lane, STREAM_ATTRIBUTE, index), T.serial(0, self.steps) as step:
            place = self.first + step
            if "entries" in self.buffers:
                yield self._joint(self._symbol("entries", place, lane))
                return
            gap = self._symbol("gaps", place, lane) if "gaps" in self.buffers else None
            if "codes" in self.buffers:
                value = self._value(self._symbol("codes", place, lane))
            else:
                stored = self.buffers["values"][place, lane]
                value = bind("value", tir.Cast(self.accumulator, stored))
            yield self._next(gap), value

    def _symbol(self, name: str, place: Expr, lane: Expr) -> Expr:
        return bind(name.rstrip("s"), tir.Cast("int32", self.buffers[name][place, lane]))
