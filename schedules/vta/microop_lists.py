"""Micro-op lists of a convolution's GEMM instructions.

The loops of an instruction walk over the pixels of a tile, the list over weight blocks; what two
neighbouring micro-ops add to must differ, because hardware pipelines them. So the list has the
output blocks innermost and, where there are few of them, a group of pixels of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

Blocks = npt.NDArray[np.int64]
"""Shape (blocks, 4): output block, input block, kernel row, kernel column; in that order sorted by
the last three first."""

_CYCLES_OF_MICRO_OP = 0.6  # half a beat of its LOAD
_CYCLES_OF_LIST = 30  # dispatch of an instruction, latency of a LOAD


@dataclass(frozen=True)
class TileShape:
    """Pixels of an output tile and of the input tile under it.

    Attributes
    ----------
    rows, columns
        Output pixels.
    pitch_rows, pitch_columns
        Input pixels, padding included.
    """

    rows: int
    columns: int
    pitch_rows: int
    pitch_columns: int
    strides: tuple[int, int]
    dilations: tuple[int, int] = (1, 1)

    @property
    def pixels(self) -> int:
        """Output pixels."""
        return self.rows * self.columns

    @property
    def input_pixels(self) -> int:
        """Input pixels of one block of channels."""
        return self.pitch_rows * self.pitch_columns


@dataclass(frozen=True)
class Grouping:
    """How many pixels the micro-op list covers by itself, and into how many copies it adds.

    Copies of the accumulators take turns where a tile has too few of them.
    """

    rows: int
    columns: int
    copies: int = 1


def groupings(shape: TileShape) -> Iterator[Grouping]:
    """Candidates, shortest lists first."""
    found = [
        Grouping(rows, columns)
        for rows in range(1, shape.rows + 1)
        if shape.rows % rows == 0
        for columns in range(1, shape.columns + 1)
        if shape.columns % columns == 0
    ]
    yield from sorted(found, key=lambda each: (each.rows * each.columns, each.rows))
    yield Grouping(shape.rows, shape.columns, 3)


@dataclass(frozen=True)
class Run:
    """Some weight blocks of a step, one behind the other in a list.

    Attributes
    ----------
    blocks
        Their numbers in the step.
    """

    blocks: tuple[int, ...]
    grouping: Grouping


def arrange(outputs: Blocks, shape: TileShape, distance: int) -> tuple[Run, ...]:
    """Order the weight blocks of a step so that no accumulator comes again too soon.

    The fewer pixels a list covers by itself, the shorter it is; but then blocks of the same output
    must not be neighbours. Blocks that find no others to stand between go to a list of their own.

    Parameters
    ----------
    outputs
        Output block of each weight block.
    distance
        Micro-ops that must lie between two updates of an accumulator, counting one of them.
    """
    return _arrange(outputs.tobytes(), shape, distance)


@lru_cache(maxsize=4096)
def _arrange(outputs: bytes, shape: TileShape, distance: int) -> tuple[Run, ...]:
    array = np.frombuffer(outputs, dtype=np.int64)
    every = tuple(range(len(array)))
    options: list[tuple[Run, ...]] = []
    for grouping in groupings(shape):
        if _far_enough(array, grouping, shape, distance):
            options.append((Run(every, grouping),))
            break
    last = options[0][0].grouping
    for grouping in groupings(shape):
        apart = -(-distance // (grouping.rows * grouping.columns))
        if apart == 1 or grouping.copies > 1 or grouping == last:
            break
        order, rest = _spread(array.tolist(), apart)
        tail = (Run(tuple(rest), _alone(shape, distance)),) if rest else ()
        options.append((Run(tuple(order), grouping), *tail))
    return min(options, key=_cost)


def _spread(outputs: Sequence[int], apart: int) -> tuple[list[int], list[int]]:
    """Order blocks so that those of one output stand ``apart``; return what is left over, too."""
    waiting: dict[int, deque[int]] = {}
    for number, output in enumerate(outputs):
        waiting.setdefault(output, deque()).append(number)
    heap = [(-len(numbers), output) for output, numbers in waiting.items()]
    heapify(heap)
    order: list[int] = []
    resting: deque[int] = deque()
    while heap:
        _, output = heappop(heap)
        order.append(waiting[output].popleft())
        resting.append(output)
        if len(resting) == apart:
            rested = resting.popleft()
            if waiting[rested]:
                heappush(heap, (-len(waiting[rested]), rested))
    return order, [number for numbers in waiting.values() for number in numbers]


def _alone(shape: TileShape, distance: int) -> Grouping:
    """Shortest grouping for any blocks at all."""
    return next(
        grouping
        for grouping in groupings(shape)
        if max(grouping.rows * grouping.columns, grouping.copies) >= distance
    )


def _cost(runs: tuple[Run, ...]) -> float:
    """Cycles for the micro-ops of some runs, and for each instruction."""
    micro_ops = sum(len(run.blocks) * run.grouping.rows * run.grouping.columns for run in runs)
    return _CYCLES_OF_MICRO_OP * micro_ops + _CYCLES_OF_LIST * len(runs)


def _far_enough(outputs: Blocks, grouping: Grouping, shape: TileShape, distance: int) -> bool:
    pixels = grouping.rows * grouping.columns
    if pixels >= distance or grouping.copies >= distance:
        return True
    # The next pass of the loops has other pixels: only neighbours in the list can meet.
    target = (outputs[:, None] * pixels + np.arange(pixels)).reshape(-1)
    return not any((target[lag:] == target[:-lag]).any() for lag in range(1, distance))


@dataclass(frozen=True)
class BlockList:
    """Micro-ops of some weight blocks over one tile, and the loops around them.

    Indices count from the bases of the slots.
    """

    dst: npt.NDArray[np.int64]
    src: npt.NDArray[np.int64]
    wgt: npt.NDArray[np.int64]
    trips: tuple[int, int]
    dst_steps: tuple[int, int]
    src_steps: tuple[int, int]


def block_lists(
    blocks: Blocks,
    places: npt.NDArray[np.int64],
    shape: TileShape,
    outputs: int,
    grouping: Grouping,
    most: int,
) -> list[BlockList]:
    """Make lists of at most ``most`` micro-ops that multiply ``blocks`` over a tile.

    Parameters
    ----------
    blocks
        Output and input block count from the tile's first.
    places
        WGT index of each block, from the slot's base.
    outputs
        Output blocks of the tile.
    """
    pixels = grouping.rows * grouping.columns
    per_list = max(most // pixels, 1)
    rows, columns = np.divmod(np.arange(pixels), grouping.columns)
    trips = (shape.rows // grouping.rows, shape.columns // grouping.columns)
    lists = []
    for start in range(0, len(blocks), per_list):
        part = blocks[start : start + per_list]
        copy = (start + np.arange(len(part))) % grouping.copies
        dst = (copy * outputs + part[:, 0])[:, None] * shape.pixels + (
            rows * shape.columns + columns
        )
        y = part[:, 2, None] * shape.dilations[0] + rows * shape.strides[0]
        x = part[:, 3, None] * shape.dilations[1] + columns * shape.strides[1]
        src = part[:, 1, None] * shape.input_pixels + y * shape.pitch_columns + x
        wgt = np.broadcast_to(places[start : start + per_list, None], dst.shape)
        lists.append(
            BlockList(
                dst.reshape(-1),
                src.reshape(-1),
                wgt.reshape(-1),
                trips,
                _steps(trips, (grouping.rows * shape.columns, grouping.columns)),
                _steps(
                    trips,
                    (
                        grouping.rows * shape.strides[0] * shape.pitch_columns,
                        grouping.columns * shape.strides[1],
                    ),
                ),
            )
        )
    return lists


def _steps(trips: tuple[int, int], steps: tuple[int, int]) -> tuple[int, int]:
    """Give the steps of the loops; 0 where a loop has one iteration, whatever its step."""
    return steps[0] if trips[0] > 1 else 0, steps[1] if trips[1] > 1 else 0
