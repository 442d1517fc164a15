"""Sums that one stream leaves in DRAM and the next goes on with: parts of a reduction.

A STORE writes the low 8 bits of an accumulator. So a sum leaves as four digits to base 256, each
from -128 to 127, in four tensors of int8; multiplied by an identity block and shifted, they make
the same 32 bits again.
"""

from __future__ import annotations

from dcc.codegen.vta.buffers import DIGITS, SUMS
from dcc.codegen.vta.instructions import Alu, Gemm, Transfer
from dcc.codegen.vta.stream import StreamBuilder, micro_ops
from dcc.schedules.vta.layers import ConvLayer
from dcc.schedules.vta.windows import Window, result_transfers
from dcc.targets.vta.isa import AluOpcode, Memory

_BITS = 8
_HALF = 1 << (_BITS - 1)


def sums_transfers(
    layer: ConvLayer, memory: Memory, base: int, blocks: tuple[int, int], window: Window
) -> list[Transfer]:
    """Move the digits of what a window covers from or to ``base``, one tensor after the other."""
    tensor = layer.batch * layer.output_blocks * layer.out_height * layer.out_width
    count = blocks[1] * window.shape.pixels
    transfers = []
    for digit in range(DIGITS):
        part = result_transfers(layer, memory, SUMS, base + digit * count, blocks, window)
        for transfer in part:
            transfer.offset += digit * tensor
        transfers += part
    return transfers


def add_sums(builder: StreamBuilder, base: int, digits: int, identity: int, count: int) -> None:
    """Put ``count`` sums together in accumulators that are zero.

    Parameters
    ----------
    digits
        Where the digits stand in INP, the lowest first.
    identity
        The identity block in WGT.
    """
    for digit in reversed(range(DIGITS)):
        words = micro_ops(base, digits + digit * count, identity)
        builder.emit(Gemm((0, 1), (1, count), (0, 1), (0, 1)), words)
        if digit:
            builder.immediate(AluOpcode.SHR, -_BITS, base, count)


def split_sums(builder: StreamBuilder, base: int, count: int) -> None:
    """Spread ``count`` sums over four times as many accumulators, whose low bytes are digits.

    The next digit is (sum + 128) >> 8, as the lowest byte counts as -128 to 127.
    """
    # The sums themselves may have been set to zero only, which hardware would not store.
    builder.immediate(AluOpcode.ADD, 0, base, count)
    for digit in range(1, DIGITS):
        start = base + digit * count
        builder.reset(start, count)
        add = Alu((0, 1), (1, count), (0, 1), (0, 1), operation=AluOpcode.ADD)
        builder.emit(add, micro_ops(start, start - count))
        builder.immediate(AluOpcode.ADD, _HALF, start, count)
        builder.immediate(AluOpcode.SHR, _BITS, start, count)
