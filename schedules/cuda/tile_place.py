"""Which part of a product a block computes."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx as tir

from dcc.schedules.cuda.tile import Tile
from dcc.schedules.weight_reader import Expr, bind


@dataclass(frozen=True)
class TilePlace:
    """Where the tile of a block lies.

    Attributes
    ----------
    first_sample, first_row
        Of the tile.
    split
        Which share of the columns is the block's.
    first_step, steps
        The first part of ``depth`` columns of it, and how many there are.
    """

    first_sample: Expr
    first_row: Expr
    split: Expr
    first_step: Expr
    steps: Expr


def place_of(tile: Tile, block: Expr) -> TilePlace:
    """Find the place of ``block``.

    Blocks of the same rows follow each other: the cache has the weight for all but the first.
    """
    rest = tir.floordiv(block, tile.sample_tiles)
    sample_tile = tir.floormod(block, tile.sample_tiles)
    row_tile = tir.floormod(rest, tile.row_tiles)
    first_sample = bind("first_sample", sample_tile * tile.block_samples)
    first_row = bind("first_row", row_tile * tile.block_rows)
    split = bind("split", tir.floordiv(rest, tile.row_tiles))
    first_step = bind("first_step", split * tile.steps)
    steps = bind("steps", tir.min(tile.depths - first_step, tile.steps))
    return TilePlace(first_sample, first_row, split, first_step, steps)
