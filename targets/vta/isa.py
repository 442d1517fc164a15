"""The instruction set of VTA, default configuration: bit positions, opcodes, memories, queues.

Everything that reads or writes the bits of an instruction does it through the tables here. No field
crosses the middle of the 128 bits, so an instruction is two 64-bit words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

INSTRUCTION_BYTES = 16
BLOCK = 16
"""Rows and columns of the matrix unit, and elements of every vector."""


class Opcode(IntEnum):
    """What an instruction does; bits 0 to 2."""

    LOAD = 0
    STORE = 1
    GEMM = 2
    FINISH = 3
    ALU = 4


class Memory(IntEnum):
    """A scratchpad, as the memory id of LOAD and STORE."""

    UOP = 0
    WGT = 1
    INP = 2
    ACC = 3
    OUT = 4
    ACC_8BIT = 5


class AluOpcode(IntEnum):
    """Operation of an ALU instruction."""

    MIN = 0
    MAX = 1
    ADD = 2
    SHR = 3
    MUL = 4


class Queue(IntEnum):
    """The three in-order queues."""

    LOAD = 0
    COMPUTE = 1
    STORE = 2


ELEMENT_BYTES: Mapping[Memory, int] = {
    Memory.UOP: 4,
    Memory.WGT: 256,
    Memory.INP: 16,
    Memory.ACC: 64,
    Memory.OUT: 16,
    Memory.ACC_8BIT: 16,
}
"""Bytes of one element in DRAM: ``dram_base`` counts in them."""

FLAGS = ("pop_prev", "pop_next", "push_prev", "push_next")


@dataclass(frozen=True)
class Field:
    """Some bits of an instruction, counted from bit 0 of byte 0."""

    name: str
    low: int
    width: int
    signed: bool = False

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest value."""
        if self.signed:
            return -(1 << (self.width - 1)), (1 << (self.width - 1)) - 1
        return 0, (1 << self.width) - 1


_COMMON = (
    Field("opcode", 0, 3),
    *(Field(name, 3 + place, 1) for place, name in enumerate(FLAGS)),
)
_TRANSFER = (
    *_COMMON,
    Field("memory", 7, 3),
    Field("sram_base", 10, 16),
    Field("dram_base", 26, 32),
    Field("y_size", 64, 16),
    Field("x_size", 80, 16),
    Field("x_stride", 96, 16),
    Field("y_pad_0", 112, 4),
    Field("y_pad_1", 116, 4),
    Field("x_pad_0", 120, 4),
    Field("x_pad_1", 124, 4),
)
_LOOPS = (
    *_COMMON,
    Field("reset", 7, 1),
    Field("uop_bgn", 8, 13),
    Field("uop_end", 21, 14),
    Field("iter_out", 35, 14),
    Field("iter_in", 49, 14),
    Field("dst_factor_out", 64, 11),
    Field("dst_factor_in", 75, 11),
    Field("src_factor_out", 86, 11),
    Field("src_factor_in", 97, 11),
)
LAYOUTS: Mapping[Opcode, tuple[Field, ...]] = {
    Opcode.LOAD: _TRANSFER,
    Opcode.STORE: _TRANSFER,
    Opcode.GEMM: (*_LOOPS, Field("wgt_factor_out", 108, 10), Field("wgt_factor_in", 118, 10)),
    Opcode.ALU: (
        *_LOOPS,
        Field("alu_opcode", 108, 3),
        Field("use_imm", 111, 1),
        Field("imm", 112, 16, signed=True),
    ),
    Opcode.FINISH: _COMMON,
}
MICRO_OP = (Field("dst", 0, 11), Field("src", 11, 11), Field("wgt", 22, 10))


def _used_bits(fields: tuple[Field, ...]) -> tuple[int, int]:
    bits = sum(((1 << field.width) - 1) << field.low for field in fields)
    return bits & (2**64 - 1), bits >> 64


_USED = {opcode: _used_bits(fields) for opcode, fields in LAYOUTS.items()}


def pack(opcode: Opcode, values: Mapping[str, int]) -> tuple[int, int]:
    """Pack field values into the two words of an instruction; absent fields are 0.

    Raises
    ------
    ValueError
        A value does not fit its field, or there is no such field.
    """
    bits = int(opcode)
    known = {field.name: field for field in LAYOUTS[opcode]}
    for name, value in values.items():
        if name not in known or name == "opcode":
            raise ValueError(f"{opcode.name} has no field '{name}'")
        field = known[name]
        low, high = field.range
        if not low <= value <= high:
            raise ValueError(
                f"{opcode.name}.{name} = {value}: expected {low} to {high} ({field.width} bits)"
            )
        bits |= (value & ((1 << field.width) - 1)) << field.low
    return bits & (2**64 - 1), bits >> 64


def unpack(low: int, high: int) -> dict[str, int]:
    """Take the fields out of the two words of an instruction; the inverse of :func:`pack`.

    Raises
    ------
    ValueError
        There is no such opcode, or a bit that belongs to no field is set.
    """
    number = low & 7
    if number not in _USED:
        raise ValueError(f"opcode {number}: expected 0 to 4")
    opcode = Opcode(number)
    if low & ~_USED[opcode][0] or high & ~_USED[opcode][1]:
        raise ValueError(f"{opcode.name}: bits outside of its fields are set")
    bits = low | high << 64
    values = {}
    for field in LAYOUTS[opcode]:
        value = bits >> field.low & ((1 << field.width) - 1)
        if field.signed and value >> (field.width - 1):
            value -= 1 << field.width
        values[field.name] = value
    return values


def queue_of(fields: Mapping[str, int]) -> Queue:
    """Return the queue that fetch routes an instruction to."""
    if fields["opcode"] == Opcode.STORE:
        return Queue.STORE
    if fields["opcode"] == Opcode.LOAD and fields["memory"] in (Memory.INP, Memory.WGT):
        return Queue.LOAD
    return Queue.COMPUTE


def unpack_micro_ops(
    words: npt.NDArray[np.uint32],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split micro-ops into destination (ACC), source (INP or ACC) and weight (WGT) indices."""
    wide = words.astype(np.int64)
    dst, src, wgt = (wide >> f.low & ((1 << f.width) - 1) for f in MICRO_OP)
    return dst, src, wgt
