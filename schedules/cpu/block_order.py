"""Decoded weights in the order in which the pixel kernel multiplies them: by blocks of columns.

Decoding leaves the entries of a slice side by side. A kernel that goes block by block through all
rows would jump between slices, too far for the processor to fetch ahead; where it does so for many
tiles, one copy in the order of use pays.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.schedules.cpu.decoded_entries import DecodedEntries
from dcc.schedules.cpu.rows import guard
from dcc.schedules.cpu.weight_reader import Expr, allocate, bind
from dcc.schedules.work.walk import PASSES

LEAST_TILES = 2
"""Tiles of a unit from which the copy pays: it takes about as long as one tile gains."""


class BlockOrder:
    """The entries of slices ``first`` to ``last``: by block, in a block by row.

    Attributes
    ----------
    values, places
        As of :class:`DecodedEntries`, but one entry after the other.
    copied
        Entries that all units together copy.
    ends
        One past the last entry of each row in each block, shape (blocks, rows), flat.
    """

    def __init__(
        self, entries: DecodedEntries, blocks: int, limit: Callable[[Expr], Expr], copied: int
    ) -> None:
        self.entries = entries
        self.copied = copied
        self.blocks = blocks
        self._limit = limit
        reader = entries.reader
        self.rows = entries.most_slices * reader.packed.lanes
        size = entries.most_steps * reader.packed.lanes
        self.values = allocate("ordered_values", (size,), reader.accumulator, "global")
        self.places = allocate("ordered_places", (size,), "int32", "global")
        self.ends = allocate("ends", (blocks * self.rows,), "int32", "global")

    def end(self, block: Expr, row: Expr) -> Expr:
        """One past the last entry of a row of the range."""
        return self.ends[block * self.rows + row]

    def emit(self, first: Expr, last: Expr) -> None:
        """Copy the entries, which :attr:`entries` has decoded."""
        reader, lanes = self.entries.reader, self.entries.reader.packed.lanes
        cursors = allocate("cursors", (self.rows,), "int32", "global")
        count = allocate("count", (1,), "int32")
        T.buffer_store(count, T.int32(0), [0])
        with T.serial(0, self.blocks) as block:
            IRBuilder.name("block", block)
            limit = bind("limit", self._limit(block))
            with T.serial(first, last) as index:
                start = self.entries.start(first, index)
                with (
                    T.serial(0, lanes) as lane,
                    guard(reader.row(index, lane), reader.packed),
                ):
                    row = bind("row", (index - first) * lanes + lane)
                    with T.If(block == 0), T.Then():
                        T.buffer_store(cursors, start * lanes + lane, [row])
                    self._copy(cursors, count, row, limit)
                    T.buffer_store(self.ends, count[0], [block * self.rows + row])

    def _copy(self, cursors: Expr, count: Expr, row: Expr, limit: Expr) -> None:
        """Append what a row has below ``limit``."""
        values, places = self.entries.values, self.entries.places
        with (
            T.attr(0, PASSES, tir.const(self.copied, "int64")),
            T.While(places[cursors[row]] < limit),
        ):
            cursor, target = bind("cursor", cursors[row]), bind("target", count[0])
            T.buffer_store(self.values, values[cursor], [target])
            T.buffer_store(self.places, places[cursor], [target])
            T.buffer_store(cursors, cursor + self.entries.reader.packed.lanes, [row])
            T.buffer_store(count, target + 1, [0])
