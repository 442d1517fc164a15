"""How the pixel kernel finishes and writes the sums of a slice of output channels."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.schedules.cpu.panels import span
from dcc.schedules.cpu.pixel_tiles import PixelTiles
from dcc.schedules.cpu.rows import guard
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.weight_reader import Expr, WeightReader, bind


@dataclass
class PixelStore:
    """Writes into images: a tile's pixels are neighbours in each output channel.

    ``results`` is y (images, channels, rows, columns), flat.
    """

    reader: WeightReader
    tiles: PixelTiles
    epilogue: Epilogue
    results: tir.Buffer

    def __call__(self, tile: Expr, index: Expr, sums: tir.Buffer, first: Expr) -> None:
        """Write the sums of slice ``index``."""
        tiles, packed = self.tiles, self.reader.packed
        g = tiles.geometry
        image, row, across = (bind("origin", part) for part in tiles.origin(tile))
        with T.serial(0, packed.lanes) as lane:
            channel = self.reader.row(index, lane)
            with guard(channel, packed), T.serial(0, tiles.images) as below:
                place = ((image + below) * g.outputs + channel) * g.out_height + row
                place = bind("place", place * g.out_width + across)
                source = first + lane * tiles.pitch + below * (tiles.rows * tiles.width)
                self._store(sums, bind("source", source), place, channel)

    def _store(self, sums: tir.Buffer, source: Expr, place: Expr, channel: Expr) -> None:
        """Write the pixels of one image and channel: whole vectors, then halves of vectors."""
        dtype = str(self.results.ty.dtype.dtype)

        def finish(start: Expr | int, lanes: int) -> None:
            total = sums[span(source + start, lanes)]
            value = self.epilogue.apply(total, channel, dtype, lanes)
            T.buffer_store(self.results, value, [span(place + start, lanes)])

        lanes = self.tiles.lanes
        whole, rest = divmod(self.tiles.rows * self.tiles.width, lanes)
        if whole:
            with T.serial(0, whole) as number:
                finish(number * lanes, lanes)
        start = whole * lanes
        while rest:
            lanes //= 2
            if rest >= lanes:
                finish(start, lanes)
                start, rest = start + lanes, rest - lanes


@dataclass
class TurnedStore:
    """Writes into y (samples, rows): the lanes of a slice side by side, sample by sample."""

    reader: WeightReader
    tiles: PixelTiles
    epilogue: Epilogue
    y: tir.Buffer

    def __call__(self, tile: Expr, index: Expr, sums: tir.Buffer, first: Expr) -> None:
        """Write the sums of slice ``index``."""
        packed = self.reader.packed
        _, _, sample = self.tiles.origin(tile)
        if "order" in self.reader.buffers or packed.lanes == 1:
            self._row_by_row(sample, index, sums, first)
        elif packed.rows % packed.lanes == 0:
            self._side_by_side(sample, index, sums, first)
        else:
            with T.If((index + 1) * packed.lanes <= packed.rows):
                with T.Then():
                    self._side_by_side(sample, index, sums, first)
                with T.Else():
                    self._row_by_row(sample, index, sums, first)

    def _side_by_side(self, sample: Expr, index: Expr, sums: tir.Buffer, first: Expr) -> None:
        lanes, dtype = self.reader.packed.lanes, str(self.y.ty.dtype.dtype)
        rows = tir.Ramp(index * lanes, 1, lanes)
        with T.serial(0, self.tiles.width) as place:
            total = sums[tir.Ramp(first + place, self.tiles.pitch, lanes)]
            value = self.epilogue.apply(total, rows, dtype, lanes)
            T.buffer_store(self.y, value, [sample + place, rows])

    def _row_by_row(self, sample: Expr, index: Expr, sums: tir.Buffer, first: Expr) -> None:
        packed, dtype = self.reader.packed, str(self.y.ty.dtype.dtype)
        with T.serial(0, packed.lanes) as lane:
            row = self.reader.row(index, lane)
            with guard(row, packed), T.serial(0, self.tiles.width) as place:
                total = sums[first + lane * self.tiles.pitch + place]
                T.buffer_store(
                    self.y, self.epilogue.apply(total, row, dtype), [sample + place, row]
                )
