"""The order in which a convolution's weight blocks stand in DRAM: that of the tiles' loads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.schedules.vta.layers import ConvLayer
from dcc.schedules.vta.microop_lists import Blocks
from dcc.schedules.vta.tiling import Tiling


@dataclass(frozen=True)
class WeightTile:
    """The weight blocks of a step, in their order in DRAM.

    Attributes
    ----------
    start
        First block, counted from the start of the buffer.
    blocks
        Shape (blocks, 4): output block, input block, kernel row, kernel column.
    """

    start: int
    blocks: Blocks


def weight_tiles(
    layer: ConvLayer,
    tiling: Tiling,
    kept: npt.NDArray[np.bool_] | None = None,
    outputs: tuple[int, int] | None = None,
) -> dict[tuple[int, int], WeightTile]:
    """Weight blocks of each (first output block, first input block), in the order of DRAM.

    Parameters
    ----------
    kept
        Shape (output blocks, input blocks, kernel rows, kernel columns): blocks that are stored;
        None stores all.
    outputs
        First and one past the last output block of the stream.
    """
    low, high = outputs or (0, layer.output_blocks)
    tiles: dict[tuple[int, int], WeightTile] = {}
    place = 0
    for first in range(low, high, tiling.outputs):
        for inputs in range(0, layer.input_blocks, tiling.inputs):
            sizes = (
                min(tiling.inputs, layer.input_blocks - inputs),
                *layer.kernel,
                min(tiling.outputs, high - first),
            )
            grid = np.indices(sizes).reshape(4, -1)
            blocks = np.stack([grid[3] + first, grid[0] + inputs, grid[1], grid[2]], axis=1)
            if kept is not None:
                blocks = blocks[kept[tuple(blocks.T)]]
            tiles[first, inputs] = WeightTile(place, blocks.astype(np.int64))
            place += len(blocks)
    return tiles
