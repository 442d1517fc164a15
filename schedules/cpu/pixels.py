"""Convolutions and large batches: one weight at a time, vectorised along pixels (or samples).

    parallel over units (a range of tiles of pixels, a range of slices of output channels):
        decode the slices' weights: value and place; of several tiles, in the order of the blocks
        for each tile, for each block of weight columns:
            bring the block's inputs into a panel
            for each output channel, its sums of the tile in registers:
                for each weight of the block: sums += value * panel[place]

A panel fits the first cache level; every load from it is a whole aligned vector. Weights are
decoded once for a range of tiles, never for the whole layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.schedules.cpu.block_order import LEAST_TILES, BlockOrder
from dcc.schedules.cpu.decoded_entries import DecodedEntries
from dcc.schedules.cpu.division import Division, slice_steps
from dcc.schedules.cpu.entry_counts import multiplied_entries
from dcc.schedules.cpu.epilogue import spread
from dcc.schedules.cpu.panels import Panels, span
from dcc.schedules.cpu.pixel_tiles import PixelTiles
from dcc.schedules.cpu.rows import guard, worth_parallel
from dcc.schedules.cpu.weight_reader import Expr, WeightReader, allocate, bind
from dcc.schedules.work.walk import PASSES

Store = Callable[[Expr, Expr, tir.Buffer, Expr], None]


@dataclass
class PixelKernel:
    """Emits the loops over units.

    Attributes
    ----------
    block
        Columns of a panel.
    store
        ``store(tile, slice, sums, first)`` finishes and writes the outputs of a slice; those of
        lane ``l`` stand at ``sums[first + l * pitch]``.
    """

    reader: WeightReader
    tiles: PixelTiles
    division: Division
    panels: Panels
    block: int
    store: Store

    def emit(self) -> None:
        """Emit the kernel's main loops."""
        packed, g = self.reader.packed, self.tiles.geometry
        chunks, groups = self.division.chunks, self.division.groups
        work = packed.steps * packed.lanes * self.tiles.count * self.tiles.pixels
        loop = T.parallel if worth_parallel(work) and chunks * groups > 1 else T.serial
        with loop(0, groups * chunks) as unit:
            IRBuilder.name("unit", unit)
            group, chunk = bind("group", unit // chunks), bind("chunk", unit % chunks)
            first, last = self._slices(chunk)
            entries = DecodedEntries(
                self.reader, self.tiles.pitch, self._first_column, *self._most()
            )
            entries.open()
            self.panels.open()
            entries.decode(first, last)
            begin = bind("begin", group * self.tiles.count // groups)
            end = bind("end", (group + 1) * self.tiles.count // groups)
            columns = packed.columns * g.groups
            _Unit(self, entries, first, last, -(-columns // self.block)).emit(begin, end)

    def _slices(self, chunk: Expr) -> tuple[Expr, Expr]:
        """First slice of a range of slices, and of the next."""
        bounds = self.division.bounds
        if len(bounds) == 2:
            return tir.const(0, "int32"), tir.const(bounds[1], "int32")
        table = allocate("bounds", (len(bounds),), "int32")
        for place, value in enumerate(bounds):
            T.buffer_store(table, tir.const(value, "int32"), [place])
        return bind("first", table[chunk]), bind("last", table[chunk + 1])

    def _most(self) -> tuple[int, int]:
        """Most steps and most slices of a range."""
        bounds = np.asarray(self.division.bounds)
        steps = np.concatenate([[0], np.cumsum(slice_steps(self.reader.packed))])
        return int(np.diff(steps[bounds]).max()), int(np.diff(bounds).max())

    def _first_column(self, row: Expr) -> Expr:
        """Column of the panels where the input channels of an output channel begin."""
        packed, g = self.reader.packed, self.tiles.geometry
        if g.groups == 1:
            return tir.const(0, "int32")
        # Rows that pad the last slice would point past the last group.
        group = tir.min(tir.floordiv(row, packed.rows // g.groups), g.groups - 1)
        return group * packed.columns


@dataclass
class _Unit:
    """The work of one unit, after its weights are decoded."""

    kernel: PixelKernel
    entries: DecodedEntries
    first: Expr
    last: Expr
    blocks: int

    def emit(self, begin: Expr, end: Expr) -> None:
        """Compute tiles ``begin`` to ``end``."""
        kernel, accumulator = self.kernel, self.kernel.reader.accumulator
        lanes, pitch = kernel.reader.packed.lanes, kernel.tiles.pitch
        groups = kernel.tiles.geometry.groups
        self.multiplied = multiplied_entries(kernel.reader.packed, groups, kernel.block)
        held = 1 if self.blocks == 1 else self.entries.most_slices
        self.sums = allocate("sums", (held * lanes * pitch,), accumulator, "global")
        self.at = allocate("at", (1,), "int32")
        self.order = self._order()
        if self.blocks > 1 and self.order is None:
            rows = self.entries.most_slices * lanes
            self.cursors = allocate("cursors", (rows,), "int32", "global")
        with T.serial(begin, end) as tile:
            T.buffer_store(self.at, tir.const(0, "int32"), [0])
            self._block(tile, tir.const(0, "int32"), opening=True)
            if self.blocks > 1:
                with T.serial(1, self.blocks) as block:
                    self._block(tile, block, opening=False)
                with T.serial(self.first, self.last) as index:
                    kernel.store(tile, index, self.sums, (index - self.first) * (lanes * pitch))

    def _order(self) -> BlockOrder | None:
        """Bring the entries into the order of the blocks, where enough tiles use them."""
        kernel = self.kernel
        tiles = kernel.tiles.count // kernel.division.groups
        if self.blocks == 1 or tiles < LEAST_TILES or kernel.reader.every_column:
            return None
        passes = sum(self.multiplied) * kernel.division.groups
        order = BlockOrder(self.entries, self.blocks, self._limit, passes)
        order.emit(self.first, self.last)
        return order

    def _block(self, tile: Expr, block: Expr, *, opening: bool) -> None:
        """Multiply a block of columns with all slices; the ``opening`` one sets the sums."""
        kernel, lanes = self.kernel, self.kernel.reader.packed.lanes
        kernel.panels.load(tile, block)
        only = self.blocks == 1
        with T.serial(self.first, self.last) as index:
            start = self.entries.start(self.first, index)
            held = tir.const(0, "int32") if only else index - self.first
            with (
                T.serial(0, lanes) as lane,
                # In another order of the rows, any slice may be the one with lanes to spare.
                guard(kernel.reader.row(index, lane), kernel.reader.packed),
            ):
                row = bind("row", held * lanes + lane)
                if self.order is not None:
                    self._ordered_row(tile, block, row, opening=opening)
                elif opening:
                    T.buffer_store(self.at, start * lanes + lane, [0])
                    self._decoded_row(tile, block, row, opening=True)
                else:
                    cursor = bind("cursor", self.cursors[row])
                    with T.If(self.entries.places[cursor] < self._limit(block)), T.Then():
                        T.buffer_store(self.at, cursor, [0])
                        self._decoded_row(tile, block, row, opening=False)
            if only:
                kernel.store(tile, index, self.sums, tir.const(0, "int32"))

    def _limit(self, block: Expr) -> Expr:
        """Place behind the panel of ``block``."""
        return (block + 1) * (self.kernel.block * self.kernel.tiles.pitch)

    def _decoded_row(self, tile: Expr, block: Expr, row: Expr, *, opening: bool) -> None:
        """Add the entries of a row as they were decoded, and keep where the next block begins."""
        more = self.entries.places[self.at[0]] < self._limit(block)
        step = self.kernel.reader.packed.lanes
        self._row(tile, block, row, self.entries, more, step, opening=opening)
        if self.blocks > 1:
            T.buffer_store(self.cursors, self.at[0], [row])

    def _ordered_row(self, tile: Expr, block: Expr, row: Expr, *, opening: bool) -> None:
        """Add the entries of a row, behind which those of the next row stand."""
        assert self.order is not None
        end = bind("end", self.order.end(block, row))
        more = self.at[0] < end
        if opening:
            self._row(tile, block, row, self.order, more, 1, opening=True)
            return
        with T.If(more), T.Then():
            self._row(tile, block, row, self.order, more, 1, opening=False)

    def _row(
        self,
        tile: Expr,
        block: Expr,
        row: Expr,
        entries: DecodedEntries | BlockOrder,
        more: Expr,
        step: int,
        *,
        opening: bool,
    ) -> None:
        """Add the entries of one output channel to its sums, which stay in registers.

        They are read from ``at`` on, ``step`` apart, while there are ``more``.
        """
        tiles, accumulator = self.kernel.tiles, self.kernel.reader.accumulator
        width, sums = tiles.lanes, self.sums
        registers = allocate("registers", (tiles.pitch,), accumulator)
        spans = [(number * width) for number in range(tiles.vectors)]
        zero = tir.const(0, accumulator)
        for place in spans:
            held = spread(zero, width) if opening else sums[span(row * tiles.pitch + place, width)]
            T.buffer_store(registers, held, [span(place, width)])
        passes = self.multiplied[0 if opening else 1] * tiles.count
        with T.attr(0, PASSES, tir.const(passes, "int64")), T.While(more):
            value = bind("weight", entries.values[self.at[0]])
            origin = bind("place", entries.places[self.at[0]])
            for place in spans:
                term = spread(value, width) * self.kernel.panels.read(
                    tile, block, origin + place, width
                )
                T.buffer_store(
                    registers, registers[span(place, width)] + term, [span(place, width)]
                )
            T.buffer_store(self.at, self.at[0] + step, [0])
        for place in spans:
            target = [span(row * tiles.pitch + place, width)]
            T.buffer_store(sums, registers[span(place, width)], target)
