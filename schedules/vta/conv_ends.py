"""What a convolution does around its reduction: sums of another stream, bias, residual, result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcc.codegen.vta.buffers import BIAS, IDENTITY, ONES, OUTPUT, RESIDUAL, UNIT
from dcc.codegen.vta.instructions import Gemm, Transfer
from dcc.codegen.vta.stream import StreamBuilder, micro_ops
from dcc.schedules.vta.epilogue import add_bias, add_copies, bias_rounds, requantise, shift
from dcc.schedules.vta.layers import ConvLayer
from dcc.schedules.vta.partial_sums import add_sums, split_sums, sums_transfers
from dcc.schedules.vta.pipeline import End, Operand, Step
from dcc.schedules.vta.windows import Window, result_transfers
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import Memory


@dataclass
class ConvEnds:
    """Emits the ends of tiles, and the steps for tensors that are added.

    Attributes
    ----------
    outputs
        First and one past the last output block of the stream.
    bias_base
        First accumulator behind the slots.
    """

    layer: ConvLayer
    device: Accelerator
    builder: StreamBuilder
    outputs: tuple[int, int]
    bias_base: int
    loaded_bias: int = -1

    def __post_init__(self) -> None:
        low, high = self.outputs
        depths = self.device.depths
        # All biases stay where they fit; otherwise those of the tile.
        room = depths[Memory.ACC] - self.bias_base
        self.resident_bias = (low, high - low) if high - low <= room else None
        self.ones = depths[Memory.INP] - 1
        self.identity = depths[Memory.WGT] - 1
        self.unit = depths[Memory.WGT] - self.layer.identities
        self.bias_weights = self.unit - (high - low)

    @property
    def in_parts(self) -> bool:
        """Whether output blocks of a tile can be finished one by one."""
        resident = self.layer.bias_blocks or not self.layer.bias
        return resident and not self.layer.sums_out

    def first_loads(self) -> list[Transfer]:
        """Load the identity blocks."""
        loads = []
        if self.layer.residual is not None:
            loads.append(Transfer(Memory.WGT, self.identity, IDENTITY, 0, 1, 1, 1))
        if self.layer.sums_in:
            loads.append(Transfer(Memory.WGT, self.unit, UNIT, 0, 1, 1, 1))
        return loads

    def bias_loads(self) -> list[Transfer]:
        """Load the blocks that hold the bias and the input that they are multiplied by."""
        if not self.layer.bias_blocks:
            return []
        low, high = self.outputs
        count = high - low
        return [
            Transfer(Memory.INP, self.ones, ONES, 0, 1, 1, 1),
            Transfer(Memory.WGT, self.bias_weights, BIAS, low, 1, count, count),
        ]

    def sums_step(self, group: int, count: int, window: Window) -> Step:
        """Go on with the sums of the stream before."""

        def load(base: int) -> list[Transfer]:
            return sums_transfers(self.layer, Memory.INP, base, (group, count), window)

        def compute(input_base: int, _weights: int, base: int) -> None:
            add_sums(self.builder, base, input_base, self.unit, count * window.shape.pixels)

        key = ("sums", group, window.sample, window.row, window.column)
        return Step(Operand(key, load), None, compute)

    def residual_step(self, group: int, count: int, window: Window, copies: int) -> Step:
        """Add the residual."""
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
            self.builder.emit(Gemm((0, 1), (1, accumulators), (0, 1), (0, 1)), words)

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
            place = self.bias_weights + group - self.outputs[0]
            words = micro_ops(base + block * pixels, self.ones, place + block)
            self.builder.emit(Gemm((0, count), (1, pixels), (0, 1)), words)
            return
        first, size = self.resident_bias or (group, count)
        if self.loaded_bias != first:
            self.builder.emit(Transfer(Memory.ACC, self.bias_base, BIAS, first, 1, size, size))
            self.loaded_bias = first
        add_bias(self.builder, base, self.bias_base + group - first, count, pixels)

    def end(self, group: int, blocks: tuple[int, int], window: Window, copies: int) -> End:
        """Finish and store ``blocks`` (first, how many) of a tile whose first is ``group``."""
        first, count = blocks
        offset = (first - group) * window.shape.pixels
        layer = self.layer
        if layer.sums_out:
            return End(
                lambda base: self._leave(base + offset, count * window.shape.pixels, copies),
                lambda base: sums_transfers(layer, Memory.OUT, base + offset, blocks, window),
            )
        return End(
            lambda base: self._finish(base + offset, first, count, window, copies),
            lambda base: result_transfers(layer, Memory.OUT, OUTPUT, base + offset, blocks, window),
        )

    def _leave(self, base: int, count: int, copies: int) -> None:
        add_copies(self.builder, base, count, copies)
        split_sums(self.builder, base, count)

    def _finish(self, base: int, group: int, count: int, window: Window, copies: int) -> None:
        rule = self.layer.requantise
        rounds = False
        if self.layer.residual is None:
            self._sum_up(base, group, count, window, copies)
            rounds = self.layer.bias and bias_rounds(rule)
        requantise(self.builder, rule, base, count * window.shape.pixels, rounds)
