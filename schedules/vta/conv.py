"""Convolutions and matrix products as streams.

Data in DRAM: (batch, channels / 16, height, width, 16) of int8; weights as blocks of 16 x 16 in the
order in which the tiles load them, so that a step's weights are one row; bias (output blocks, 16)
of int32, or blocks of weights for the matrix unit (:mod:`dcc.codegen.vta.bias_blocks`). Blocks that
hold only zeros may be left out: they get no micro-ops and no bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.buffers import INPUT, WEIGHTS
from dcc.codegen.vta.instructions import Gemm, Transfer
from dcc.codegen.vta.stream import Stream, StreamBuilder, micro_ops
from dcc.schedules.vta.conv_ends import ConvEnds
from dcc.schedules.vta.layers import ConvLayer
from dcc.schedules.vta.microop_lists import (
    Blocks,
    Run,
    arrange,
    block_lists,
)
from dcc.schedules.vta.pipeline import Operand, SlotSizes, Step, Tile, run_tiles
from dcc.schedules.vta.tiling import Tiling
from dcc.schedules.vta.weight_order import weight_tiles
from dcc.schedules.vta.windows import Window, input_loads, windows
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import ELEMENT_BYTES, Memory

_BEATS_OF_PIECE = 400
"""Least size of what the first tile waits for: many times the latency of a LOAD."""


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

    def __post_init__(self) -> None:
        self.builder = StreamBuilder(self.device)
        self.weights = weight_tiles(self.layer, self.tiling, self.kept, self.outputs)
        inputs, weights, accumulators = self.tiling.slots(self.layer)
        self.sizes = SlotSizes(inputs, weights, accumulators, self.tiling.threads)
        bias_base = accumulators * self.tiling.threads
        blocks = self.outputs or (0, self.layer.output_blocks)
        self.ends = ConvEnds(self.layer, self.device, self.builder, blocks, bias_base)

    def stream(self) -> Stream:
        order = list(self._order())
        tiles = [
            self._tile(group, window, number == 0, number == len(order) - 1)
            for number, (group, window) in enumerate(order)
        ]
        first, second = self.ends.first_loads(), self.ends.bias_loads()
        return run_tiles(self.builder, tiles, self.sizes, first, second)

    def _order(self) -> Iterator[tuple[int, Window]]:
        low, high = self.outputs or (0, self.layer.output_blocks)
        groups = range(low, high, self.tiling.outputs)
        pixels = list(windows(self.layer, self.tiling))
        if self.tiling.order == "outputs":
            return ((group, window) for group in groups for window in pixels)
        return ((group, window) for window in pixels for group in groups)

    def _tile(self, group: int, window: Window, first: bool, last: bool) -> Tile:
        high = self.outputs[1] if self.outputs else self.layer.output_blocks
        count = min(self.tiling.outputs, high - group)
        steps: list[Step] = []
        copies = 1
        if not window.empty:
            steps, copies = self._steps(group, count, window, first)
        accumulators = count * window.shape.pixels
        if self.layer.sums_in:
            steps.insert(0, self.ends.sums_step(group, count, window))
        if self.layer.residual is not None:
            steps.append(self.ends.residual_step(group, count, window, copies))
        label = f"outputs {group}+{count}, rows {window.row}+{window.shape.rows}, columns " + (
            f"{window.column}+{window.shape.columns}"
        )
        label += f", sample {window.sample}" if self.layer.batch > 1 else ""
        # Nothing hides the STOREs of the last tile but its own end.
        pieces = last and copies == 1 and self.ends.in_parts
        parts = [(group + n, 1) for n in range(count)] if pieces else [(group, count)]
        return Tile(
            label,
            lambda base: self._begin(base, accumulators * copies),
            steps,
            [self.ends.end(group, part, window, copies) for part in parts],
        )

    def _begin(self, base: int, count: int) -> None:
        self.builder.reset(base, count)

    def _steps(self, group: int, count: int, window: Window, first: bool) -> tuple[list[Step], int]:
        """Give the steps of a tile, and into how many copies of its accumulators they add."""
        steps: list[Step] = []
        copies = 1
        for inputs in range(0, self.layer.input_blocks, self.tiling.inputs):
            tile = self.weights[group, inputs]
            if not len(tile.blocks):
                continue
            blocks = tile.blocks - np.array([group, inputs, 0, 0])
            used = min(self.tiling.inputs, self.layer.input_blocks - inputs)
            step, most = self._step(tile.start, blocks, (inputs, 0, used), count, window)
            copies = max(copies, most)
            if first and used > 1:
                step, most = self._in_pieces(
                    step, tile.start, blocks, (inputs, used), count, window
                )
                copies = max(copies, most)
            steps.append(step)
        return steps, copies

    def _in_pieces(
        self,
        whole: Step,
        start: int,
        blocks: Blocks,
        inputs: tuple[int, int],
        count: int,
        window: Window,
    ) -> tuple[Step, int]:
        """Split a step by its blocks of inputs (first, how many).

        All of them are loaded, also those without a weight: the slot is that of the whole step.
        """
        slot, used = inputs
        begins = self._piece_begins(blocks, used, window)
        pieces: list[Step] = []
        copies = 1
        for begin, end in zip(begins, [*begins[1:], used], strict=True):
            own = np.flatnonzero((blocks[:, 1] >= begin) & (blocks[:, 1] < end))
            part = (slot, begin, end - begin)
            piece, most = self._step(start, blocks[own], part, count, window, int(own[0]))
            pieces.append(piece)
            copies = max(copies, most)
        return replace(whole, pieces=tuple(pieces)), copies

    def _piece_begins(self, blocks: Blocks, used: int, window: Window) -> list[int]:
        """First block of inputs of each piece: each has weights, and enough to load."""
        beats = np.full(used, window.shape.input_pixels * ELEMENT_BYTES[Memory.INP], dtype=np.int64)
        weights = np.bincount(blocks[:, 1], minlength=used)
        beats = (beats + weights * ELEMENT_BYTES[Memory.WGT]) // self.device.timing.bus_bytes
        begins, loaded = [0], 0
        last = int(np.flatnonzero(weights)[-1])
        for block in range(used):
            if loaded >= _BEATS_OF_PIECE and weights[begins[-1] : block].any() and block <= last:
                begins.append(block)
                loaded = 0
            loaded += int(beats[block])
        return begins

    def _step(
        self,
        start: int,
        blocks: Blocks,
        inputs: tuple[int, int, int],
        count: int,
        window: Window,
        skipped: int = 0,
    ) -> tuple[Step, int]:
        """Multiply some weight blocks, which stand together, by the input under a window.

        Parameters
        ----------
        start
            Number in DRAM of the weight block at the start of the slot.
        inputs
            First input block of the slot; of these blocks, counted from it; how many.
        skipped
            Weight blocks of the slot that come before.
        """
        slot, first, used = inputs
        runs = arrange(
            np.ascontiguousarray(blocks[:, 0]), window.shape, self.device.limits.distance
        )
        size, offset = len(blocks), first * window.shape.input_pixels

        def load_inputs(base: int) -> list[Transfer]:
            return input_loads(self.layer, INPUT, base + offset, (slot + first, used), window)

        def load_weights(base: int) -> list[Transfer]:
            at = start + skipped
            return [Transfer(Memory.WGT, base + skipped, WEIGHTS, at, 1, size, size)]

        def compute(input_base: int, weight_base: int, base: int) -> None:
            for run in runs:
                self._multiply(
                    run, blocks, count, window, (base, input_base, weight_base + skipped)
                )

        key = (window.sample, window.row, window.column, slot)
        step = Step(Operand(key, load_inputs), Operand(start, load_weights), compute)
        return step, max(run.grouping.copies for run in runs)

    def _multiply(
        self, run: Run, blocks: Blocks, count: int, window: Window, bases: tuple[int, int, int]
    ) -> None:
        numbers = np.array(run.blocks)
        most = self.device.limits.micro_ops
        lists = block_lists(blocks[numbers], numbers, window.shape, count, run.grouping, most)
        base, input_base, weight_base = bases
        for each in lists:
            words = micro_ops(each.dst + base, each.src + input_base, each.wgt + weight_base)
            gemm = Gemm((0, len(words)), each.trips, each.dst_steps, each.src_steps)
            self.builder.emit(gemm, words)
