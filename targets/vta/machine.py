"""What each instruction does to scratchpads and DRAM, by whole arrays and in exact integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.errors import StreamError
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import BLOCK, ELEMENT_BYTES, AluOpcode, Memory, Opcode
from dcc.targets.vta.matrix_unit import multiply
from dcc.targets.vta.prepared import Indices, Instruction, Read

Write = Callable[[int, npt.NDArray[np.uint8]], None]
Int32 = npt.NDArray[np.int32]
_ROW_TYPES: dict[Memory, np.dtype[Any]] = {
    Memory.INP: np.dtype(np.int8),
    Memory.WGT: np.dtype(np.int8),
    Memory.ACC: np.dtype("<i4"),
}


class Machine:
    """Scratchpads with a note of what was written, and the rules of each instruction.

    The functional simulator has no buffer OUT: STORE takes the low bytes of ACC.
    """

    def __init__(self, device: Accelerator, read: Read, write: Write) -> None:
        self._read, self._write = read, write
        depths = device.depths
        self.pads: dict[Memory, npt.NDArray[Any]] = {
            Memory.INP: np.zeros((depths[Memory.INP], BLOCK), dtype=np.int8),
            Memory.WGT: np.zeros((depths[Memory.WGT], BLOCK * BLOCK), dtype=np.int8),
            Memory.ACC: np.zeros((depths[Memory.ACC], BLOCK), dtype=np.int32),
        }
        self.written = {memory: np.zeros(len(pad), np.bool_) for memory, pad in self.pads.items()}

    def forget(self) -> None:
        """Start a stream: it may read only what it writes itself."""
        for flags in self.written.values():
            flags[:] = False

    def execute(self, instruction: Instruction) -> None:
        """Run one instruction.

        Raises
        ------
        StreamError
            It reaches outside of a scratchpad or of mapped memory, or reads what was not written.
        """
        if instruction.is_no_operation or instruction.opcode == Opcode.FINISH:
            return
        actions = {
            Opcode.LOAD: self._load,
            Opcode.STORE: self._store,
            Opcode.GEMM: self._gemm,
            Opcode.ALU: self._alu,
        }
        try:
            actions[instruction.opcode](instruction)
        except StreamError as error:
            text = str(error)
            raise error if text.startswith("instruction") else instruction.fail(text) from None

    def _load(self, instruction: Instruction) -> None:
        if instruction.memory == Memory.UOP:
            return  # the decoder has followed the micro-ops
        if instruction.memory not in self.pads:
            raise instruction.fail(f"the simulator has no memory {instruction.memory.name}")
        f, memory = instruction.fields, instruction.memory
        pad, size = self.pads[memory], ELEMENT_BYTES[memory]
        start, end = f["sram_base"], f["sram_base"] + instruction.sram_elements
        if end > len(pad):
            raise instruction.fail(f"elements {start} to {end - 1} exceed {memory.name}")
        span = (f["y_size"] - 1) * f["x_stride"] + f["x_size"] if f["y_size"] else 0
        data = np.ascontiguousarray(self._read(f["dram_base"] * size, span * size))
        width = f["x_pad_0"] + f["x_size"] + f["x_pad_1"]
        height = f["y_pad_0"] + f["y_size"] + f["y_pad_1"]
        tile = pad[start:end].reshape(height, width, pad.shape[1])
        if width * height != f["x_size"] * f["y_size"]:
            tile[:] = 0
        rows = np.lib.stride_tricks.as_strided(
            data, (f["y_size"], f["x_size"] * size), (f["x_stride"] * size, 1), writeable=False
        )
        values = np.ascontiguousarray(rows).view(_ROW_TYPES[memory])
        inside = tile[
            f["y_pad_0"] : f["y_pad_0"] + f["y_size"], f["x_pad_0"] : f["x_pad_0"] + f["x_size"]
        ]
        inside[:] = values.reshape(inside.shape)
        self.written[memory][start:end] = True

    def _store(self, instruction: Instruction) -> None:
        f, size = instruction.fields, ELEMENT_BYTES[Memory.OUT]
        start, end = f["sram_base"], f["sram_base"] + instruction.sram_elements
        acc = self.pads[Memory.ACC]
        if instruction.memory != Memory.OUT or any(
            f[name] for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")
        ):
            raise instruction.fail("a STORE takes memory OUT, without padding")
        if end > len(acc):
            raise instruction.fail(f"elements {start} to {end - 1} exceed OUT")
        self._check_written(instruction, Memory.ACC, np.arange(start, end))
        low = acc[start:end].astype(np.int8).view(np.uint8)
        rows = low.reshape(f["y_size"], f["x_size"] * size)
        if f["x_stride"] == f["x_size"] or f["y_size"] == 1:
            self._write(f["dram_base"] * size, rows.reshape(-1))
            return
        for number, row in enumerate(rows):
            self._write((f["dram_base"] + number * f["x_stride"]) * size, row)

    def _gemm(self, instruction: Instruction) -> None:
        acc = self.pads[Memory.ACC]
        dst = self._elements(instruction, "dst", Memory.ACC)
        if instruction.fields["reset"]:
            acc[dst] = 0
            self.written[Memory.ACC][dst] = True
            return
        src = self._elements(instruction, "src", Memory.INP)
        wgt = self._elements(instruction, "wgt", Memory.WGT)
        for memory, where in ((Memory.ACC, dst), (Memory.INP, src), (Memory.WGT, wgt)):
            self._check_written(instruction, memory, where)
        multiply(instruction, self.pads[Memory.INP], self.pads[Memory.WGT], acc)

    def _alu(self, instruction: Instruction) -> None:
        acc, f = self.pads[Memory.ACC], instruction.fields
        self._check_written(instruction, Memory.ACC, self._elements(instruction, "dst", Memory.ACC))
        dst = instruction.indices("dst").reshape(-1)
        src = None
        if not f["use_imm"]:
            self._check_written(
                instruction, Memory.ACC, self._elements(instruction, "src", Memory.ACC)
            )
            src = instruction.indices("src").reshape(-1)
        if _independent(instruction, dst, src):
            operand = np.int32(f["imm"]) if src is None else acc[src]
            acc[dst] = _operate(instruction, acc[dst], operand)
            return
        for step, target in enumerate(dst):
            operand = np.int32(f["imm"]) if src is None else acc[src[step]]
            acc[target] = _operate(instruction, acc[target], operand)

    def _elements(self, instruction: Instruction, operand: str, memory: Memory) -> Indices:
        """Give the elements that an instruction touches, once their range is checked."""
        elements = instruction.elements(operand)
        if len(elements) and int(elements[-1]) >= len(self.pads[memory]):
            raise instruction.fail(
                f"{operand} reaches element {int(elements[-1])}, {memory.name} has "
                f"{len(self.pads[memory])}"
            )
        return elements

    def _check_written(self, instruction: Instruction, memory: Memory, where: Indices) -> None:
        flags = self.written[memory][where]
        if not flags.all():
            missing = int(where.reshape(-1)[int(np.argmin(flags.reshape(-1)))])
            raise instruction.fail(
                f"reads element {missing} of {memory.name}, which nothing wrote before"
            )


def _independent(instruction: Instruction, dst: Indices, src: Indices | None) -> bool:
    """Whether the iterations of an ALU instruction may run all at once."""
    plan = instruction.plan
    if "independent" not in plan:
        alone = len(instruction.elements("dst")) == len(dst)
        if src is not None and alone:
            alone = bool(
                np.array_equal(src, dst) or not np.isin(instruction.elements("src"), dst).any()
            )
        plan["independent"] = alone
    return bool(plan["independent"])


def _operate(instruction: Instruction, x: Int32, y: Int32 | np.int32) -> Int32:
    operation = instruction.fields["alu_opcode"]
    if operation == AluOpcode.MIN:
        return np.minimum(x, y)
    if operation == AluOpcode.MAX:
        return np.maximum(x, y)
    if operation == AluOpcode.ADD:
        return (x.astype(np.int64) + y).astype(np.int32)
    if operation == AluOpcode.SHR:
        return shift_right(x, y)
    raise instruction.fail(f"there is no ALU operation {operation} on all implementations")


def shift_right(x: Int32, y: Int32 | np.int32) -> Int32:
    """Arithmetic shift to the right, to the left for negative ``y``, wrapping at 32 bits."""
    amount = np.broadcast_to(np.asarray(y, dtype=np.int64), x.shape)
    wide = x.astype(np.int64)
    right = wide >> np.maximum(amount, 0)
    left = wide << np.maximum(-amount, 0)
    return np.where(amount >= 0, right, left).astype(np.int32)
