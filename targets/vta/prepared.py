"""Decodes a stream and follows its micro-op buffer, so that each loop knows its indices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.errors import StreamError
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import (
    ELEMENT_BYTES,
    Memory,
    Opcode,
    Queue,
    Words,
    queue_of,
    unpack,
    unpack_micro_ops,
)

_COUNTED = 1 << 16

Indices = npt.NDArray[np.int64]
Read = Callable[[int, int], npt.NDArray[np.uint8]]
"""(physical address, bytes) -> the bytes; raises StreamError where nothing is mapped."""


@dataclass(frozen=True)
class Instruction:
    """One instruction of a stream.

    Attributes
    ----------
    number
        Its place in the stream.
    fields
        Every field of its layout by name.
    micro_ops
        Destination, source and weight indices of the micro-ops of a GEMM or ALU instruction.
    """

    number: int
    opcode: Opcode
    queue: Queue
    fields: dict[str, int]
    micro_ops: tuple[Indices, Indices, Indices] | None = None

    def fail(self, text: str) -> StreamError:
        """Make an error that names this instruction."""
        return StreamError(f"instruction {self.number} ({self.opcode.name}): {text}")

    @property
    def is_no_operation(self) -> bool:
        """Whether it only moves tokens."""
        return self.opcode in (Opcode.LOAD, Opcode.STORE) and self.fields["x_size"] == 0

    @property
    def memory(self) -> Memory:
        """Scratchpad of a LOAD or STORE."""
        return Memory(self.fields["memory"])

    @property
    def sram_elements(self) -> int:
        """Elements of the scratchpad that a LOAD fills or a STORE reads."""
        f = self.fields
        if f["x_size"] == 0:
            return 0
        width = f["x_pad_0"] + f["x_size"] + f["x_pad_1"]
        return width * (f["y_pad_0"] + f["y_size"] + f["y_pad_1"])

    @property
    def dram_elements(self) -> int:
        """Elements that a LOAD or STORE moves over the bus."""
        return self.fields["x_size"] * self.fields["y_size"]

    @property
    def iterations(self) -> int:
        """Micro-ops that a GEMM or ALU instruction executes."""
        f = self.fields
        return f["iter_out"] * f["iter_in"] * max(f["uop_end"] - f["uop_bgn"], 0)

    def steps(self, operand: str) -> Indices:
        """Offset of ``operand`` ("dst", "src", "wgt") in each pass over the micro-ops."""
        f = self.fields
        if f["iter_out"] == f["iter_in"] == 1:
            return np.zeros(1, dtype=np.int64)
        outer = np.arange(f["iter_out"], dtype=np.int64) * f[f"{operand}_factor_out"]
        inner = np.arange(f["iter_in"], dtype=np.int64) * f[f"{operand}_factor_in"]
        return (outer[:, None] + inner[None, :]).reshape(-1)

    def indices(self, operand: str) -> Indices:
        """Return the indices of ``operand`` as executed, shape (passes, micro-ops)."""
        assert self.micro_ops is not None
        base = self.micro_ops[("dst", "src", "wgt").index(operand)]
        return self.steps(operand)[:, None] + base[None, :]

    def elements(self, operand: str) -> Indices:
        """Return every index of ``operand`` once, in order; remembered."""
        key = f"elements {operand}"
        if key not in self.plan:
            indices = self.indices(operand).reshape(-1)
            if indices.max(initial=0) < _COUNTED:  # as in every scratchpad
                self.plan[key] = np.flatnonzero(np.bincount(indices))
            else:
                self.plan[key] = np.unique(indices)
        found: Indices = self.plan[key]
        return found

    @cached_property
    def plan(self) -> dict[str, Any]:
        """Room for what an executor wants to compute once for this instruction."""
        return {}


def prepare(words: Words, read: Read, device: Accelerator) -> list[Instruction]:
    """Decode a stream.

    Parameters
    ----------
    words
        Shape (instructions, 2).
    read
        Access to DRAM: micro-ops stand there.

    Raises
    ------
    StreamError
        An opcode, a bit or an index of a micro-op that does not exist.
    """
    depth = device.depths[Memory.UOP]
    buffer = np.zeros(depth, dtype=np.uint32)
    written = np.zeros(depth, dtype=np.bool_)
    prepared = []
    for number, (low, high) in enumerate(words.tolist()):
        try:
            fields = unpack(low, high)
        except ValueError as error:
            raise StreamError(f"instruction {number}: {error}") from None
        opcode = Opcode(fields["opcode"])
        if opcode in (Opcode.LOAD, Opcode.STORE) and fields["memory"] > Memory.ACC_8BIT:
            raise StreamError(
                f"instruction {number} ({opcode.name}): there is no memory {fields['memory']}"
            )
        instruction = Instruction(number, opcode, queue_of(fields), fields)
        if opcode == Opcode.LOAD and instruction.memory == Memory.UOP:
            _load_micro_ops(instruction, read, buffer, written)
        elif opcode in (Opcode.GEMM, Opcode.ALU):
            micro_ops = _micro_ops(instruction, buffer, written)
            instruction = Instruction(number, opcode, instruction.queue, fields, micro_ops)
        prepared.append(instruction)
    return prepared


def _load_micro_ops(
    instruction: Instruction,
    read: Read,
    buffer: npt.NDArray[np.uint32],
    written: npt.NDArray[np.bool_],
) -> None:
    if instruction.is_no_operation:
        return
    fields, size = instruction.fields, ELEMENT_BYTES[Memory.UOP]
    if fields["y_size"] != 1 or instruction.sram_elements != fields["x_size"]:
        raise instruction.fail("a load of micro-ops is one row without padding")
    start, count = fields["sram_base"], fields["x_size"]
    if start + count > len(buffer):
        raise instruction.fail(
            f"micro-ops {start} to {start + count - 1} exceed the buffer of {len(buffer)}"
        )
    try:
        data = read(fields["dram_base"] * size, count * size)
    except StreamError as error:
        raise instruction.fail(str(error)) from None
    buffer[start : start + count] = np.frombuffer(data.tobytes(), dtype="<u4")
    written[start : start + count] = True


def _micro_ops(
    instruction: Instruction, buffer: npt.NDArray[np.uint32], written: npt.NDArray[np.bool_]
) -> tuple[Indices, Indices, Indices]:
    begin, end = instruction.fields["uop_bgn"], instruction.fields["uop_end"]
    if end > len(buffer):
        raise instruction.fail(f"micro-op {end - 1} is outside of the buffer of {len(buffer)}")
    if not written[begin:end].all():
        missing = begin + int(np.argmin(written[begin:end]))
        raise instruction.fail(f"micro-op {missing} was never loaded by this stream")
    return unpack_micro_ops(buffer[begin:end])
