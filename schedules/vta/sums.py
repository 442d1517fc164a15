"""Sums of tensors, and tensors alone, brought to another scale: streams without any weights.

ALU instructions cannot load int8, so the operands go through the matrix unit: identity blocks with
a power of two on the diagonal shift them to the common scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.buffers import IDENTITY, INPUT, OUTPUT, RESIDUAL
from dcc.codegen.vta.instructions import Gemm, Transfer
from dcc.codegen.vta.stream import Stream, StreamBuilder, micro_ops
from dcc.schedules.vta.epilogue import requantise
from dcc.schedules.vta.layers import SumLayer
from dcc.schedules.vta.pipeline import End, Operand, SlotSizes, Step, Tile, run_tiles
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import BLOCK, Memory

OPERANDS = (INPUT, RESIDUAL)
"""Buffers of the two operands."""


def identity_block(lift: int) -> npt.NDArray[np.int8]:
    """Weights that shift by ``lift`` bits to the left, shape (16, 16)."""
    return np.eye(BLOCK, dtype=np.int8) << np.int8(lift)


@dataclass(frozen=True)
class _Sum:
    layer: SumLayer
    builder: StreamBuilder
    blocks: int

    def tile(self, start: int, count: int) -> Tile:
        steps = [self._step(number, start, count) for number in range(len(self.layer.lifts))]
        rule = self.layer.requantise
        return Tile(
            f"elements {start}+{count}",
            lambda base: _ignore(self.builder.reset(base, count)),
            steps,
            [
                End(
                    lambda base: requantise(self.builder, rule, base, count, rounded=False),
                    lambda base: [Transfer(Memory.OUT, base, OUTPUT, start, 1, count, count)],
                )
            ],
        )

    def _step(self, operand: int, start: int, count: int) -> Step:
        def load(base: int) -> list[Transfer]:
            return [Transfer(Memory.INP, base, OPERANDS[operand], start, 1, count, count)]

        def compute(inputs: int, _weights: int, base: int) -> None:
            words = micro_ops(base, inputs, operand)
            self.builder.emit(Gemm((0, 1), (1, count), (0, 1), (0, 1)), words)

        return Step(Operand((operand, start), load), None, compute)


def sum_stream(layer: SumLayer, device: Accelerator) -> Stream:
    """Emit the stream; ``elements`` of 16 lanes. Buffer ``identity`` has a block an operand."""
    threads = 2
    size = min(device.depths[Memory.ACC], device.depths[Memory.INP]) // threads
    size = min(size, max(-(-layer.elements // 4), 64))
    schedule = _Sum(layer, StreamBuilder(device), len(layer.lifts))
    tiles = [
        schedule.tile(start, min(size, layer.elements - start))
        for start in range(0, layer.elements, size)
    ]
    count = len(layer.lifts)
    first = [Transfer(Memory.WGT, 0, IDENTITY, 0, 1, count, count)]
    return run_tiles(schedule.builder, tiles, SlotSizes(size, 0, size, threads), first)


def _ignore(_result: object) -> None:
    """Drop what an emitting function returns."""
