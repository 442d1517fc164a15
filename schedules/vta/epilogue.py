"""The ALU instructions at the end of a tile: bias, shifts, rounding, clipping."""

from __future__ import annotations

from dcc.codegen.vta.instructions import Alu
from dcc.codegen.vta.stream import StreamBuilder, micro_ops
from dcc.schedules.vta.layers import Requantise
from dcc.targets.vta.isa import AluOpcode


def add_bias(builder: StreamBuilder, base: int, bias: int, blocks: int, pixels: int) -> None:
    """Add accumulator ``bias + b`` to each of the ``pixels`` accumulators of block ``b``."""
    add = Alu((0, 1), (blocks, pixels), (pixels, 1), (1, 0), operation=AluOpcode.ADD)
    builder.emit(add, micro_ops(base, bias))


def add_copies(builder: StreamBuilder, base: int, count: int, copies: int) -> None:
    """Add the further copies of ``count`` accumulators to the first."""
    for copy in range(1, copies):
        add = Alu((0, 1), (1, count), (0, 1), (0, 1), operation=AluOpcode.ADD)
        builder.emit(add, micro_ops(base, base + copy * count))


def shift(builder: StreamBuilder, amount: int, base: int, count: int) -> None:
    """Shift right, to the left where ``amount`` is negative."""
    if amount:
        builder.immediate(AluOpcode.SHR, amount, base, count)


def requantise(
    builder: StreamBuilder, rule: Requantise, base: int, count: int, rounded: bool
) -> None:
    """Round (unless a bias has done so), shift and clip ``count`` accumulators."""
    first, last = rule.split
    shift(builder, first, base, count)
    if last.rounding and not rounded:
        builder.immediate(AluOpcode.ADD, last.rounding, base, count)
    shift(builder, last.shift, base, count)
    builder.immediate(AluOpcode.MAX, rule.low, base, count)
    builder.immediate(AluOpcode.MIN, rule.high, base, count)


def bias_rounds(rule: Requantise) -> bool:
    """Whether a layer's bias can hold the rounding constant, which saves an instruction."""
    return rule.split[0] == 0
