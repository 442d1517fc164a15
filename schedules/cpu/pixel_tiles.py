"""How the output pixels (or samples) of a layer are cut.

A tile of pixels is what one weight is multiplied with while the sums stay in registers. Tiles are
equal: the last one along an axis begins early enough to end with the axis, and computes some pixels
again. So no tile is partly filled, and every store is of the same length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx as tir

from dcc.schedules.cpu.geometry import ConvGeometry
from dcc.schedules.cpu.weight_reader import Expr


@dataclass(frozen=True)
class PixelTiling:
    """Sizes of the pixel kernel.

    Attributes
    ----------
    tile_vectors
        Most vectors of sums that stay in registers.
    panel_bytes
        Size of a panel of inputs.
    decoded_bytes
        About the most that the decoded weights of a unit take.
    threads
        Threads among which the work is divided.
    """

    tile_vectors: int = 14
    panel_bytes: int = 32 * 1024
    decoded_bytes: int = 2 * 1024 * 1024
    threads: int = 1

    def block(self, tiles: PixelTiles, dtype: str) -> int:
        """Columns of a panel."""
        size = np.dtype(dtype).itemsize
        g = tiles.geometry
        columns = g.channels * g.kernel[0] * g.kernel[1]
        return min(columns, max(8, self.panel_bytes // (tiles.pitch * size)))


TILE_OVERHEAD = 1.5
"""What a tile costs besides its vectors, in vectors: a weight, its place, the loop."""


@dataclass(frozen=True)
class PixelTiles:
    """Tiles of whole images, of rows of an image, or of pieces of a row.

    Attributes
    ----------
    geometry
        The layer.
    lanes
        Elements of a vector.
    images, rows, width
        Extents of a tile.
    """

    geometry: ConvGeometry
    lanes: int
    images: int
    rows: int
    width: int

    @property
    def pixels(self) -> int:
        """Pixels of a tile."""
        return self.images * self.rows * self.width

    @property
    def vectors(self) -> int:
        """Vectors of a tile."""
        return -(-self.pixels // self.lanes)

    @property
    def pitch(self) -> int:
        """Elements of a tile, those among them that fill its last vector."""
        return self.vectors * self.lanes

    @property
    def counts(self) -> tuple[int, int, int]:
        """Tiles along images, rows and columns."""
        g = self.geometry
        return (
            -(-g.batch // self.images),
            -(-g.out_height // self.rows),
            -(-g.out_width // self.width),
        )

    @property
    def count(self) -> int:
        """Tiles of the layer."""
        images, rows, columns = self.counts
        return images * rows * columns

    @property
    def cost(self) -> float:
        """Time of all tiles, in vectors."""
        return self.count * (self.vectors + TILE_OVERHEAD)

    def origin(self, tile: Expr) -> tuple[Expr, Expr, Expr]:
        """First image, row and column of a tile."""
        g, (_, rows, columns) = self.geometry, self.counts
        image = tir.floordiv(tile, rows * columns) * self.images
        row = tir.floormod(tir.floordiv(tile, columns), rows) * self.rows
        column = tir.floormod(tile, columns) * self.width
        return (
            tir.min(image, g.batch - self.images),
            tir.min(row, g.out_height - self.rows),
            tir.min(column, g.out_width - self.width),
        )


def choose_tiles(geometry: ConvGeometry, lanes: int, most_vectors: int) -> PixelTiles:
    """Choose the tiles of at most ``most_vectors`` vectors that cost least."""
    g = geometry
    every = g.batch * g.out_height * g.out_width
    while lanes > 1 and lanes // 2 >= every:
        lanes //= 2
    room = most_vectors * lanes
    candidates = [
        PixelTiles(g, lanes, images, g.out_height, g.out_width)
        for images in range(1, g.batch + 1)
        if images * g.out_height * g.out_width <= room
    ]
    candidates += [
        PixelTiles(g, lanes, 1, rows, g.out_width)
        for rows in range(1, g.out_height + 1)
        if rows * g.out_width <= room
    ]
    if not candidates:
        pieces = -(-g.out_width // room)
        width = -(-g.out_width // (pieces * lanes)) * lanes
        candidates = [PixelTiles(g, lanes, 1, 1, width)]
    return min(candidates, key=lambda tiles: tiles.cost)
