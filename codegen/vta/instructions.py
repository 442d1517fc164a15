"""Instructions of VTA as objects, and their 128 bits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from dcc.errors import EncodingError
from dcc.targets.vta.isa import AluOpcode, Memory, Opcode, Words, pack, unpack


@dataclass
class Flags:
    """Which tokens an instruction takes before it starts and puts after it is done."""

    pop_prev: bool = False
    pop_next: bool = False
    push_prev: bool = False
    push_next: bool = False

    def values(self) -> dict[str, int]:
        """Fields of the encoding."""
        return {name: int(value) for name, value in vars(self).items()}


@dataclass
class Transfer:
    """A LOAD, or a STORE where the memory is OUT.

    Attributes
    ----------
    buffer, offset
        Where in DRAM: a buffer that gets its address when the program is loaded, and elements of
        the memory from its start.
    rows, columns, stride
        A rectangle of elements; ``stride`` from the start of one row to the next.
    pads
        Rows of zeros above and below, elements of zeros left and right.
    """

    memory: Memory
    sram: int = 0
    buffer: str = ""
    offset: int = 0
    rows: int = 0
    columns: int = 0
    stride: int = 0
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    flags: Flags = field(default_factory=Flags)
    label: str = ""

    @property
    def opcode(self) -> Opcode:
        """LOAD or STORE."""
        return Opcode.STORE if self.memory == Memory.OUT else Opcode.LOAD

    def values(self) -> dict[str, int]:
        """Fields of the encoding; ``dram_base`` from the start of the buffer."""
        top, bottom, left, right = self.pads
        return {
            "memory": int(self.memory),
            "sram_base": self.sram,
            "dram_base": self.offset,
            "y_size": self.rows,
            "x_size": self.columns,
            "x_stride": self.stride,
            "y_pad_0": top,
            "y_pad_1": bottom,
            "x_pad_0": left,
            "x_pad_1": right,
        }


@dataclass
class Loop:
    """What GEMM and ALU share: two loops around a list of micro-ops.

    Attributes
    ----------
    micro_ops
        First and one past the last entry of the micro-op buffer.
    trips
        Of the outer and the inner loop.
    dst, src
        What an iteration of the outer and of the inner loop adds to the index.
    """

    micro_ops: tuple[int, int]
    trips: tuple[int, int]
    dst: tuple[int, int]
    src: tuple[int, int] = (0, 0)
    flags: Flags = field(default_factory=Flags)
    label: str = ""

    def _loop_values(self) -> dict[str, int]:
        return {
            "uop_bgn": self.micro_ops[0],
            "uop_end": self.micro_ops[1],
            "iter_out": self.trips[0],
            "iter_in": self.trips[1],
            "dst_factor_out": self.dst[0],
            "dst_factor_in": self.dst[1],
            "src_factor_out": self.src[0],
            "src_factor_in": self.src[1],
        }


@dataclass
class Gemm(Loop):
    """Multiply inputs by weight blocks into accumulators, or set accumulators to zero."""

    wgt: tuple[int, int] = (0, 0)
    reset: bool = False

    @property
    def opcode(self) -> Opcode:
        """GEMM."""
        return Opcode.GEMM

    def values(self) -> dict[str, int]:
        """Fields of the encoding."""
        return {
            **self._loop_values(),
            "reset": int(self.reset),
            "wgt_factor_out": self.wgt[0],
            "wgt_factor_in": self.wgt[1],
        }


@dataclass
class Alu(Loop):
    """Combine accumulators with others, or with an immediate number."""

    operation: AluOpcode = AluOpcode.ADD
    immediate: int | None = None

    @property
    def opcode(self) -> Opcode:
        """ALU."""
        return Opcode.ALU

    def values(self) -> dict[str, int]:
        """Fields of the encoding."""
        return {
            **self._loop_values(),
            "alu_opcode": int(self.operation),
            "use_imm": int(self.immediate is not None),
            "imm": self.immediate or 0,
        }


@dataclass
class Finish:
    """The end of a stream."""

    flags: Flags = field(default_factory=Flags)
    label: str = "end"

    @property
    def opcode(self) -> Opcode:
        """FINISH."""
        return Opcode.FINISH

    def values(self) -> dict[str, int]:
        """Fields of the encoding."""
        return {}


Instruction: TypeAlias = Transfer | Gemm | Alu | Finish


def encode(instruction: Instruction) -> tuple[int, int]:
    """Give the two words of an instruction.

    Raises
    ------
    EncodingError
        A value does not fit its field.
    """
    try:
        return pack(instruction.opcode, {**instruction.flags.values(), **instruction.values()})
    except ValueError as error:
        raise EncodingError(f"VTA instruction: {error}") from None


def encode_stream(instructions: list[Instruction]) -> Words:
    """Give the words of a stream, shape (instructions, 2); addresses count from buffer starts."""
    words = [encode(instruction) for instruction in instructions]
    return np.array(words, dtype=np.uint64).reshape(-1, 2)


def decode(low: int, high: int, buffer: str = "") -> Instruction:
    """Read an instruction back: the inverse of :func:`encode`.

    Raises
    ------
    EncodingError
        There is no such opcode, or a bit that belongs to no field is set.
    """
    try:
        f = unpack(low, high)
    except ValueError as error:
        raise EncodingError(f"VTA instruction: {error}") from None
    flags = Flags(*(bool(f[name]) for name in vars(Flags())))
    opcode = Opcode(f["opcode"])
    if opcode == Opcode.FINISH:
        return Finish(flags)
    if opcode in (Opcode.LOAD, Opcode.STORE):
        if f["memory"] > Memory.ACC_8BIT or (opcode == Opcode.STORE) != (f["memory"] == Memory.OUT):
            raise EncodingError(f"VTA instruction: {opcode.name} of memory {f['memory']}")
        pads = (f["y_pad_0"], f["y_pad_1"], f["x_pad_0"], f["x_pad_1"])
        place = (f["sram_base"], buffer, f["dram_base"], f["y_size"], f["x_size"], f["x_stride"])
        return Transfer(Memory(f["memory"]), *place, pads, flags)
    loop = (
        (f["uop_bgn"], f["uop_end"]),
        (f["iter_out"], f["iter_in"]),
        (f["dst_factor_out"], f["dst_factor_in"]),
        (f["src_factor_out"], f["src_factor_in"]),
        flags,
    )
    if opcode == Opcode.GEMM:
        wgt = (f["wgt_factor_out"], f["wgt_factor_in"])
        return Gemm(*loop, wgt=wgt, reset=bool(f["reset"]))
    if f["reset"] or f["alu_opcode"] > AluOpcode.MUL or (f["imm"] and not f["use_imm"]):
        raise EncodingError("VTA instruction: ALU with reset, no such operation, or a stray number")
    immediate = f["imm"] if f["use_imm"] else None
    return Alu(*loop, operation=AluOpcode(f["alu_opcode"]), immediate=immediate)
