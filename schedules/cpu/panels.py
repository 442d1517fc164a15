"""Panels: the inputs that a block of weight columns is multiplied with, for one tile of pixels.

Row ``column`` of a panel holds, for each pixel of the tile, the input that weight column ``column``
meets there. So every weight reads whole aligned vectors, at any stride, dilation or padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.schedules.cpu.pixel_tiles import PixelTiles
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.weight_reader import Expr, allocate, bind


class Panels(Protocol):
    """What the pixel kernel reads its inputs from."""

    def open(self) -> None:
        """Allocate what a thread needs."""

    def load(self, tile: Expr, block: Expr) -> None:
        """Bring a block of columns of a tile into the cache."""

    def read(self, tile: Expr, block: Expr, place: Expr, lanes: int) -> Expr:
        """``lanes`` inputs; ``place`` is column times pitch, plus the pixel in the tile."""


@dataclass
class ReadyPanels:
    """Panels that a kernel has laid out in memory: (tiles, columns, pitch), flat."""

    buffer: tir.Buffer
    tile_elements: int

    def open(self) -> None:
        """Nothing to allocate."""

    def load(self, tile: Expr, block: Expr) -> None:
        """Nothing to bring: the processor's caches do."""

    def read(self, tile: Expr, block: Expr, place: Expr, lanes: int) -> Expr:
        """Read from memory."""
        return self.buffer[span(tile * self.tile_elements + place, lanes)]


def turned_panels(x: tir.Buffer, tiles: PixelTiles, accumulator: str) -> ReadyPanels:
    """Turn x (samples, columns) into panels (tiles, columns, pitch), several columns at a time.

    The samples of each column that fill its last vector are left as they are.
    """
    columns = int(x.ty.shape[1])
    elements = columns * tiles.pitch
    turned = allocate("turned", (tiles.count * elements,), accumulator, "global")
    width = tiles.lanes
    whole, rest = divmod(columns, width)
    loop = T.parallel if worth_parallel(tiles.count * elements) else T.serial

    def turn(tile: Expr, column: Expr | int, lanes: int) -> None:
        _, _, first = tiles.origin(tile)
        with T.serial(0, tiles.width) as sample:
            kind = accumulator if lanes == 1 else f"{accumulator}x{lanes}"
            values = tir.Cast(kind, x[first + sample, span(column, lanes)])
            start = tile * elements + column * tiles.pitch + sample
            target = tir.Ramp(start, tiles.pitch, lanes) if lanes > 1 else start
            T.buffer_store(turned, values, [target])

    with T.serial(0, tiles.count) as tile:
        if whole:
            with loop(0, whole) as number:
                turn(tile, number * width, width)
        if rest:
            with T.serial(0, rest) as column:
                turn(tile, whole * width + column, 1)
    return ReadyPanels(turned, elements)


@dataclass
class CopiedPanels:
    """Panels of a convolution, copied from the phase planes block by block.

    ``source`` has at least :func:`copied_lanes` elements behind the last plane unless it is as
    long as whole vectors.
    """

    source: tir.Buffer
    geometry: ConvGeometry
    tiles: PixelTiles
    block: int

    @property
    def columns(self) -> int:
        """Columns of all panels: input channels times kernel positions."""
        g = self.geometry
        return g.channels * g.kernel[0] * g.kernel[1]

    def open(self) -> None:
        """Allocate a panel, and clear what fills its last vectors."""
        size = self.block * self.tiles.pitch + self.tiles.lanes
        dtype = self.source.ty.dtype.dtype
        self.panel = allocate("panel", (size,), str(dtype), "global")
        with T.serial(0, size) as place:
            T.buffer_store(self.panel, tir.const(0, str(dtype)), [place])

    def load(self, tile: Expr, block: Expr) -> None:
        """Copy the columns of ``block``, row by row of the tile.

        A row is copied in whole vectors; what they write behind it, the next row overwrites.
        """
        g, tiles = self.geometry, self.tiles
        image, row, across = (bind("origin", part) for part in tiles.origin(tile))
        count = tir.min(self.columns - block * self.block, self.block)
        lanes = copied_lanes(tiles)
        with T.serial(0, count) as column:
            base = bind("base", displacement(g, block * self.block + column) + across)
            with T.serial(0, tiles.images) as below, T.serial(0, tiles.rows) as line:
                source = base + (image + below) * g.image + (row + line) * g.phase_width
                source = bind("source", source)
                target = column * tiles.pitch + (below * tiles.rows + line) * tiles.width
                target = bind("target", target)
                for start in range(0, tiles.width, lanes):
                    values = self.source[span(source + start, lanes)]
                    T.buffer_store(self.panel, values, [span(target + start, lanes)])

    def read(self, tile: Expr, block: Expr, place: Expr, lanes: int) -> Expr:
        """Read from the panel of ``block``."""
        first = block * (self.block * self.tiles.pitch)
        return self.panel[span(place - first, lanes)]


def copied_lanes(tiles: PixelTiles) -> int:
    """Lanes of the vectors that copy a row."""
    lanes = tiles.lanes
    while lanes > 1 and lanes // 2 >= tiles.width:
        lanes //= 2
    return lanes


def displacement(geometry: ConvGeometry, column: Expr) -> Expr:
    """Where the input of output pixel 0 stands for weight column ``column`` of all channels."""
    g = geometry
    height, width = g.kernel
    channel = tir.floordiv(column, height * width)
    row = tir.floormod(tir.floordiv(column, width), height) * g.dilations[0]
    across = tir.floormod(column, width) * g.dilations[1]
    stride_h, stride_w = g.strides
    phase = tir.floormod(row, stride_h) * stride_w + tir.floormod(across, stride_w)
    offset = tir.floordiv(row, stride_h) * g.phase_width + tir.floordiv(across, stride_w)
    return (channel * g.phases + phase) * g.plane + offset


def span(start: Expr | int, lanes: int) -> Expr | int:
    """Index ``lanes`` neighbours: a scalar where there is one."""
    return tir.Ramp(start, 1, lanes) if lanes > 1 else start
