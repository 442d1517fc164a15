"""What a stream may read from the scratchpads: written before, by instructions ordered before.

Accesses of different queues to one element need a path of tokens between them; two accesses of
which one writes and that have none are a race.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import Memory, Opcode, Queue
from dcc.targets.vta.prepared import Indices, Instruction
from dcc.targets.vta.queues import clocks


class State(IntEnum):
    """How an element came to its value."""

    UNWRITTEN = 0
    LOADED = 1
    RESET = 2
    COMPUTED = 3


class _Pad:
    """States of one scratchpad, and who touched each element last, as places in their queues."""

    def __init__(self, memory: Memory, depth: int, writer: Queue, reader: Queue) -> None:
        self.memory, self.writer, self.reader = memory, writer, reader
        self.state = np.zeros(depth, dtype=np.int8)
        self.written = np.zeros(depth, dtype=np.int64)
        self.read = np.zeros(depth, dtype=np.int64)

    def check_read(
        self, instruction: Instruction, where: Indices | slice, before: npt.NDArray[np.int64]
    ) -> None:
        if not self.state[where].all():
            missing = _first(where, self.state[where] == State.UNWRITTEN)
            raise instruction.fail(
                f"reads element {missing} of {self.memory.name}, which this stream has not written"
            )
        if (self.written[where] > before[self.writer]).any():
            raise instruction.fail(
                f"may read {self.memory.name} before the {self.writer.name} queue has written it: "
                "a token is missing"
            )

    def check_write(
        self, instruction: Instruction, where: Indices | slice, before: npt.NDArray[np.int64]
    ) -> None:
        if (self.read[where] > before[self.reader]).any():
            raise instruction.fail(
                f"may overwrite {self.memory.name} before the {self.reader.name} queue has read "
                "it: a token is missing"
            )


def check_scratchpads(
    instructions: Sequence[Instruction], order: Sequence[int], device: Accelerator
) -> None:
    """Check every access of a stream that runs in ``order``.

    Raises
    ------
    StreamError
        A read of what nothing wrote, a race, or a STORE of what hardware holds no result for.
    """
    ranks, before = clocks(instructions, order)
    depths = device.depths
    pads = {
        Memory.INP: _Pad(Memory.INP, depths[Memory.INP], Queue.LOAD, Queue.COMPUTE),
        Memory.WGT: _Pad(Memory.WGT, depths[Memory.WGT], Queue.LOAD, Queue.COMPUTE),
        Memory.ACC: _Pad(Memory.ACC, depths[Memory.ACC], Queue.COMPUTE, Queue.STORE),
    }
    for number in order:
        instruction = instructions[number]
        if instruction.is_no_operation or instruction.opcode == Opcode.FINISH:
            continue
        if instruction.opcode == Opcode.LOAD:
            _check_load(instruction, pads, before[number], int(ranks[number]))
        elif instruction.opcode == Opcode.STORE:
            _check_store(instruction, pads[Memory.ACC], before[number], int(ranks[number]))
        else:
            _check_loop(instruction, pads, before[number], int(ranks[number]))


def _check_load(
    instruction: Instruction, pads: dict[Memory, _Pad], before: npt.NDArray[np.int64], rank: int
) -> None:
    pad = pads.get(instruction.memory)
    if pad is None:  # micro-ops stay within the compute queue
        return
    start = instruction.fields["sram_base"]
    where = slice(start, start + instruction.sram_elements)
    pad.check_write(instruction, where, before)
    pad.state[where] = State.LOADED
    pad.written[where] = rank


def _check_store(
    instruction: Instruction, acc: _Pad, before: npt.NDArray[np.int64], rank: int
) -> None:
    start = instruction.fields["sram_base"]
    where = slice(start, start + instruction.sram_elements)
    acc.check_read(instruction, where, before)
    stale = acc.state[where] != State.COMPUTED
    if stale.any():
        element = _first(where, stale)
        state = State(int(acc.state[element])).name.lower()
        raise instruction.fail(
            f"element {element} was {state} and not computed since: hardware stores stale bytes"
        )
    acc.read[where] = rank


def _check_loop(
    instruction: Instruction, pads: dict[Memory, _Pad], before: npt.NDArray[np.int64], rank: int
) -> None:
    acc, fields = pads[Memory.ACC], instruction.fields
    dst = instruction.elements("dst")
    reset = instruction.opcode == Opcode.GEMM and fields["reset"]
    if not reset:
        acc.check_read(instruction, dst, before)
        if instruction.opcode == Opcode.ALU:
            acc.check_read(instruction, instruction.elements("src"), before)
        else:
            for memory, operand in ((Memory.INP, "src"), (Memory.WGT, "wgt")):
                where = instruction.elements(operand)
                pads[memory].check_read(instruction, where, before)
                pads[memory].read[where] = rank
    acc.check_write(instruction, dst, before)
    acc.state[dst] = State.RESET if reset else State.COMPUTED
    acc.written[dst] = rank


def _first(where: Indices | slice, wrong: npt.NDArray[np.bool_]) -> int:
    place = int(np.argmax(wrong.reshape(-1)))
    return where.start + place if isinstance(where, slice) else int(where.reshape(-1)[place])
