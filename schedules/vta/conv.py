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
    block_lists,
    choose_grouping,
)
from dcc.schedules.vta.pipeline import Operand, SlotSizes, Step, Tile, run_tiles
from dcc.schedules.vta.tiling import Tiling
from dcc.schedules.vta.weight_order import WeightTile, weight_tiles
from dcc.schedules.vta.windows import Window, input_loads, result_transfers, windows
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import Memory

INPUT, OUTPUT, WEIGHTS, BIAS = "input", "output", "weights", "bias"
RESIDUAL, IDENTITY, ONES = "residual", "identity", "ones"


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

    def _order(self) -> Iterator[tuple[int, Window]]:
        low, high = self.outputs or (0, self.layer.output_blocks)
        groups = range(low, high, self.tiling.outputs)
        pixels = list(windows(self.layer, self.tiling))
        if self.tiling.order == "outputs":
            return ((group, window) for group in groups for window in pixels)
        return ((group, window) for window in pixels for group in groups)

    def _tile(self, group: int, window: Window) -> Tile:
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

    def _steps(self, group: int, count: int, window: Window) -> list[tuple[Step, Grouping]]:
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
        window: Window,
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
            Operand(
                place,
                lambda base: input_loads(self.layer, INPUT, base, (inputs, used), window),
            ),
            Operand(tile.start, load_weights),
            compute,
        )

    def _residual_step(self, group: int, count: int, window: Window, copies: int) -> Step:
        layer, shape = self.layer, window.shape
        assert layer.residual is not None
        amount = layer.residual.shift

        def load(base: int) -> list[Transfer]:
            blocks = (group, count)
            return result_transfers(layer, Memory.INP, RESIDUAL, base, blocks, window)

        def compute(input_base: int, _weights: int, base: int) -> None:
            accumulators = count * shape.pixels
            self._sum_up(base, group, count, window, copies)
            shift(self.builder, amount, base, accumulators)
            words = micro_ops(base, input_base, self.identity)
            loop = self.builder.micro_ops(words)
            self.builder.emit(Gemm(loop, (1, accumulators), (0, 1), (0, 1)))

        key = ("residual", group, window.sample, window.row, window.column)
        return Step(Operand(key, load), None, compute, ends=True)

    def _sum_up(self, base: int, group: int, count: int, window: Window, copies: int) -> None:
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

    def _finish(self, base: int, group: int, count: int, window: Window, copies: int) -> None:
        rule = self.layer.requantise
        rounds = False
        if self.layer.residual is None:
            self._sum_up(base, group, count, window, copies)
            rounds = self.layer.bias and bias_rounds(rule)
        requantise(self.builder, rule, base, count * window.shape.pixels, rounds)

    def _stores(self, base: int, group: int, count: int, window: Window) -> list[Transfer]:
        blocks = (group, count)
        return result_transfers(self.layer, Memory.OUT, OUTPUT, base, blocks, window)
