"""Convolutions and matrix products as streams.

Data in DRAM: (batch, channels / 16, height, width, 16) of int8; weights as blocks of 16 x 16 in the
order in which the tiles load them, so that a step's weights are one row; bias (output blocks, 16)
of int32, or blocks of weights for the matrix unit (:mod:`dcc.codegen.vta.bias_blocks`). Blocks that
hold only zeros may be left out: they get no micro-ops and no bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.instructions import Gemm, Transfer
from dcc.codegen.vta.stream import Stream, StreamBuilder, micro_ops
from dcc.schedules.vta.epilogue import add_bias, add_copies, bias_rounds, requantise, shift
from dcc.schedules.vta.layers import ConvLayer
from dcc.schedules.vta.microop_lists import (
    Blocks,
    Grouping,
    TileShape,
    block_lists,
    choose_grouping,
)
from dcc.schedules.vta.pipeline import Operand, SlotSizes, Step, Tile, run_tiles
from dcc.schedules.vta.tiling import Tiling
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import Memory

INPUT, OUTPUT, WEIGHTS, BIAS = "input", "output", "weights", "bias"
RESIDUAL, IDENTITY, ONES = "residual", "identity", "ones"


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


@dataclass(frozen=True)
class _Window:
    """A tile of output pixels: first row and column, its shape, and the input under it."""

    sample: int
    row: int
    column: int
    shape: TileShape
    rows: tuple[int, int, int, int]  # first input row, rows, zero rows above and below
    columns: tuple[int, int, int, int]

    @property
    def empty(self) -> bool:
        """Whether all of it is padding."""
        return self.rows[1] <= 0 or self.columns[1] <= 0


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


def conv_stream(
    layer: ConvLayer,
    tiling: Tiling,
    device: Accelerator,
    kept: npt.NDArray[np.bool_] | None = None,
    outputs: tuple[int, int] | None = None,
) -> Stream:
    """Emit the stream of a layer; arguments as of :func:`weight_tiles`."""
    return _Conv(layer, tiling, device, kept, outputs).stream()


@dataclass
class _Conv:
    layer: ConvLayer
    tiling: Tiling
    device: Accelerator
    kept: npt.NDArray[np.bool_] | None
    outputs: tuple[int, int] | None
    builder: StreamBuilder = field(init=False)
    loaded_bias: int = -1

    def __post_init__(self) -> None:
        self.builder = StreamBuilder(self.device)
        self.weights = weight_tiles(self.layer, self.tiling, self.kept, self.outputs)
        inputs, weights, accumulators = self.tiling.slots(self.layer)
        self.sizes = SlotSizes(inputs, weights, accumulators, self.tiling.threads)
        self.bias_base = accumulators * self.tiling.threads
        low, high = self.outputs or (0, self.layer.output_blocks)
        room = self.device.depths[Memory.ACC] - self.bias_base
        # All biases stay where they fit; otherwise those of the tile.
        self.resident_bias = (low, high - low) if high - low <= room else None
        depths = self.device.depths
        self.ones = depths[Memory.INP] - 1
        spare = int(self.layer.residual is not None)
        self.bias_weights = depths[Memory.WGT] - spare - (high - low)
        self.first_output = low
        self.identity = self.device.depths[Memory.WGT] - 1

    def stream(self) -> Stream:
        first = []
        if self.layer.residual is not None:
            first = [Transfer(Memory.WGT, self.identity, IDENTITY, 0, 1, 1, 1)]
        tiles = [self._tile(group, window) for group, window in self._order()]
        return run_tiles(self.builder, tiles, self.sizes, first, self._bias_loads())

    def _bias_loads(self) -> list[Transfer]:
        """Load the blocks that hold the bias and the input that they are multiplied by."""
        if not self.layer.bias_blocks:
            return []
        low, high = self.outputs or (0, self.layer.output_blocks)
        count = high - low
        return [
            Transfer(Memory.INP, self.ones, ONES, 0, 1, 1, 1),
            Transfer(Memory.WGT, self.bias_weights, BIAS, low, 1, count, count),
        ]

    def _order(self) -> Iterator[tuple[int, _Window]]:
        low, high = self.outputs or (0, self.layer.output_blocks)
        groups = range(low, high, self.tiling.outputs)
        windows = list(self._windows())
        if self.tiling.order == "outputs":
            return ((group, window) for group in groups for window in windows)
        return ((group, window) for window in windows for group in groups)

    def _windows(self) -> Iterator[_Window]:
        layer, tiling = self.layer, self.tiling
        for sample in range(layer.batch):
            for row in range(0, layer.out_height, tiling.rows):
                for column in range(0, layer.out_width, tiling.columns):
                    rows = min(tiling.rows, layer.out_height - row)
                    columns = min(tiling.columns, layer.out_width - column)
                    vertical = _clipped(row, rows, 0, layer, layer.height)
                    horizontal = _clipped(column, columns, 1, layer, layer.width)
                    shape = TileShape(
                        rows,
                        columns,
                        (rows - 1) * layer.strides[0] + layer.span[0],
                        (columns - 1) * layer.strides[1] + layer.span[1],
                        layer.strides,
                        layer.dilations,
                    )
                    yield _Window(sample, row, column, shape, vertical, horizontal)

    def _tile(self, group: int, window: _Window) -> Tile:
        high = self.outputs[1] if self.outputs else self.layer.output_blocks
        count = min(self.tiling.outputs, high - group)
        steps = [] if window.empty else self._steps(group, count, window)
        copies = max((grouping.copies for _, grouping in steps), default=1)
        accumulators = count * window.shape.pixels
        all_steps = [step for step, _ in steps]
        if self.layer.residual is not None:
            all_steps.append(self._residual_step(group, count, window, copies))
        label = f"outputs {group}+{count}, rows {window.row}+{window.shape.rows}, columns " + (
            f"{window.column}+{window.shape.columns}"
        )
        label += f", sample {window.sample}" if self.layer.batch > 1 else ""
        return Tile(
            label,
            lambda base: self._begin(base, accumulators * copies),
            all_steps,
            lambda base: self._finish(base, group, count, window, copies),
            lambda base: self._stores(base, group, count, window),
        )

    def _begin(self, base: int, count: int) -> None:
        self.builder.reset(base, count)

    def _steps(self, group: int, count: int, window: _Window) -> list[tuple[Step, Grouping]]:
        steps = []
        for inputs in range(0, self.layer.input_blocks, self.tiling.inputs):
            tile = self.weights[group, inputs]
            if not len(tile.blocks):
                continue
            blocks = tile.blocks - np.array([group, inputs, 0, 0])
            grouping = choose_grouping(
                np.ascontiguousarray(blocks[:, 0]), window.shape, self.device.limits.distance
            )
            steps.append((self._step(tile, blocks, inputs, count, window, grouping), grouping))
        return steps

    def _step(
        self,
        tile: WeightTile,
        blocks: Blocks,
        inputs: int,
        count: int,
        window: _Window,
        grouping: Grouping,
    ) -> Step:
        size = len(tile.blocks)

        def load_weights(base: int) -> list[Transfer]:
            return [Transfer(Memory.WGT, base, WEIGHTS, tile.start, 1, size, size)]

        def compute(input_base: int, weight_base: int, base: int) -> None:
            lists = block_lists(
                blocks,
                np.arange(size),
                window.shape,
                count,
                grouping,
                self.device.limits.micro_ops,
            )
            for each in lists:
                words = micro_ops(each.dst + base, each.src + input_base, each.wgt + weight_base)
                loop = self.builder.micro_ops(words)
                self.builder.emit(Gemm(loop, each.trips, each.dst_steps, each.src_steps))

        used = min(self.tiling.inputs, self.layer.input_blocks - inputs)
        place = (window.sample, window.row, window.column, inputs)
        return Step(
            Operand(place, lambda base: self._input_loads(base, inputs, used, window)),
            Operand(tile.start, load_weights),
            compute,
        )

    def _input_loads(self, base: int, first: int, count: int, window: _Window) -> list[Transfer]:
        layer = self.layer
        row, rows, above, below = window.rows
        column, columns, left, right = window.columns
        image = layer.height * layer.width
        start = (window.sample * layer.input_blocks + first) * image + row * layer.width + column
        pads = (above, below, left, right)
        if not any(pads) and rows * columns == image:
            return [Transfer(Memory.INP, base, INPUT, start, 1, count * image, count * image)]
        if not any(pads) and columns == layer.width and image < 1 << 16:
            return [Transfer(Memory.INP, base, INPUT, start, count, rows * columns, image)]
        return [
            Transfer(
                Memory.INP,
                base + block * window.shape.input_pixels,
                INPUT,
                start + block * image,
                rows,
                columns,
                layer.width,
                pads,
            )
            for block in range(count)
        ]

    def _residual_step(self, group: int, count: int, window: _Window, copies: int) -> Step:
        layer, shape = self.layer, window.shape
        assert layer.residual is not None
        amount = layer.residual.shift

        def load(base: int) -> list[Transfer]:
            return [
                Transfer(Memory.INP, at, RESIDUAL, offset, rows, columns, stride)
                for at, offset, rows, columns, stride in self._rectangles(
                    base, group, count, window
                )
            ]

        def compute(input_base: int, _weights: int, base: int) -> None:
            accumulators = count * shape.pixels
            self._sum_up(base, group, count, window, copies)
            shift(self.builder, amount, base, accumulators)
            words = micro_ops(base, input_base, self.identity)
            loop = self.builder.micro_ops(words)
            self.builder.emit(Gemm(loop, (1, accumulators), (0, 1), (0, 1)))

        key = ("residual", group, window.sample, window.row, window.column)
        return Step(Operand(key, load), None, compute, ends=True)

    def _sum_up(self, base: int, group: int, count: int, window: _Window, copies: int) -> None:
        """Add up the copies of the accumulators and the bias."""
        pixels = window.shape.pixels
        add_copies(self.builder, base, count * pixels, copies)
        if not self.layer.bias:
            return
        if self.layer.bias_blocks:
            block = np.arange(count)
            place = self.bias_weights + group - self.first_output
            words = micro_ops(base + block * pixels, self.ones, place + block)
            loop = self.builder.micro_ops(words)
            self.builder.emit(Gemm(loop, (1, pixels), (0, 1)))
            return
        first, size = self.resident_bias or (group, count)
        if self.loaded_bias != first:
            self.builder.emit(Transfer(Memory.ACC, self.bias_base, BIAS, first, 1, size, size))
            self.loaded_bias = first
        add_bias(self.builder, base, self.bias_base + group - first, count, pixels)

    def _finish(self, base: int, group: int, count: int, window: _Window, copies: int) -> None:
        rule = self.layer.requantise
        rounds = False
        if self.layer.residual is None:
            self._sum_up(base, group, count, window, copies)
            rounds = self.layer.bias and bias_rounds(rule)
        requantise(self.builder, rule, base, count * window.shape.pixels, rounds)

    def _stores(self, base: int, group: int, count: int, window: _Window) -> list[Transfer]:
        return [
            Transfer(Memory.OUT, at, OUTPUT, offset, rows, columns, stride)
            for at, offset, rows, columns, stride in self._rectangles(base, group, count, window)
        ]

    def _rectangles(
        self, base: int, group: int, count: int, window: _Window
    ) -> list[tuple[int, int, int, int, int]]:
        """Give what a tile covers of the result: (SRAM, DRAM, rows, columns, stride)."""
        layer, shape = self.layer, window.shape
        image = layer.out_height * layer.out_width
        start = (window.sample * layer.output_blocks + group) * image
        start += window.row * layer.out_width + window.column
        if shape.pixels == image:
            return [(base, start, 1, count * image, count * image)]
        rows, columns = shape.rows, shape.columns
        if columns == layer.out_width:
            rows, columns = 1, rows * columns
        stride = layer.out_width if rows > 1 else columns
        if rows == 1 and count > 1:
            return (
                [(base, start, count, columns, image)]
                if image < 1 << 16
                else [
                    (base + block * columns, start + block * image, 1, columns, columns)
                    for block in range(count)
                ]
            )
        return [
            (base + block * shape.pixels, start + block * image, rows, columns, stride)
            for block in range(count)
        ]


def _clipped(
    first: int, count: int, axis: int, layer: ConvLayer, size: int
) -> tuple[int, int, int, int]:
    """Input under ``count`` outputs from ``first`` on: start, size, zeros before and after."""
    begin = first * layer.strides[axis] - layer.pads[axis]
    end = begin + (count - 1) * layer.strides[axis] + layer.span[axis]
    inside = max(begin, 0), min(end, size)
    return inside[0], inside[1] - inside[0], inside[0] - begin, end - inside[1]
