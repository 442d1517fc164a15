"""A stream under construction: instructions, the micro-ops that they use, places in DRAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.buffers import UOPS
from dcc.codegen.vta.instructions import (
    Alu,
    Finish,
    Flags,
    Gemm,
    Instruction,
    Transfer,
    encode_stream,
)
from dcc.codegen.vta.microop_buffer import plan_batches
from dcc.errors import EncodingError
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import ELEMENT_BYTES, AluOpcode, Memory, Queue, Words, queue_of

MicroOps = npt.NDArray[np.uint32]


def micro_ops(dst: npt.ArrayLike, src: npt.ArrayLike = 0, wgt: npt.ArrayLike = 0) -> MicroOps:
    """Pack micro-ops; the three arrays are broadcast to one axis.

    Raises
    ------
    EncodingError
        An index does not fit its field.
    """
    parts = np.broadcast_arrays(
        np.atleast_1d(np.asarray(dst, dtype=np.int64)), np.asarray(src), np.asarray(wgt)
    )
    for name, part, bits in zip(("dst", "src", "wgt"), parts, (11, 11, 10), strict=True):
        if part.size and (part.min() < 0 or part.max() >= 1 << bits):
            raise EncodingError(
                f"VTA micro-op: {name} from {part.min()} to {part.max()}, expected 0 to "
                f"{(1 << bits) - 1}"
            )
    return (parts[0] | parts[1] << 11 | parts[2] << 22).astype(np.uint32)


@dataclass(frozen=True)
class Stream:
    """A finished stream.

    Attributes
    ----------
    words
        Shape (instructions, 2), uint64; ``dram_base`` counts from the start of the buffer.
    buffers
        Names of the buffers that instructions refer to.
    places
        For each instruction, the index of its buffer; -1 where it has none.
    micro_ops
        Contents of the buffer ``uops``.
    labels
        For each instruction, the tile that it belongs to.
    """

    words: Words
    buffers: tuple[str, ...]
    places: npt.NDArray[np.int16]
    micro_ops: MicroOps
    labels: tuple[str, ...]

    def placed(self, addresses: Mapping[str, int]) -> Words:
        """Give the words with physical addresses of the buffers filled in."""
        return place(self.words, self.places, [addresses[name] for name in self.buffers])


def place(words: Words, places: npt.NDArray[np.int16], addresses: Sequence[int]) -> Words:
    """Add the buffers' physical addresses to ``dram_base``.

    Raises
    ------
    EncodingError
        An address is not a multiple of the element, or does not fit.
    """
    placed = words.copy()
    low = words[:, 0]
    memory = (low >> np.uint64(7) & np.uint64(7)).astype(np.int64)
    sizes = np.array([ELEMENT_BYTES[Memory(number)] for number in range(6)] + [1, 1])
    used = np.flatnonzero(places >= 0)
    starts = np.array([*addresses, 0], dtype=np.int64)[places[used]]
    size = sizes[memory[used]]
    if (starts % size).any():
        raise EncodingError("VTA stream: a buffer does not start at a multiple of its element")
    bases = (low[used] >> np.uint64(26) & np.uint64(0xFFFFFFFF)).astype(np.int64) + starts // size
    if len(bases) and bases.max() >= 1 << 32:
        raise EncodingError("VTA stream: an address does not fit 32 bits of elements")
    clear = ~np.uint64(0xFFFFFFFF << 26)
    placed[used, 0] = (low[used] & clear) | bases.astype(np.uint64) << np.uint64(26)
    return placed


@dataclass
class StreamBuilder:
    """Collects instructions; where they need micro-ops, LOADs of these are put between them.

    Those run in the compute queue, as do their readers, so no token is needed.
    """

    device: Accelerator
    instructions: list[Instruction] = field(default_factory=list)
    label: str = ""
    _numbers: dict[bytes, int] = field(default_factory=dict)
    _needs: dict[int, int] = field(default_factory=dict)

    def emit(self, instruction: Instruction, words: MicroOps | None = None) -> Instruction:
        """Append an instruction, which belongs to the tile ``label``.

        Parameters
        ----------
        words
            Micro-ops of a GEMM or ALU instruction; where they stand is known at the end.
        """
        instruction.label = instruction.label or self.label
        if words is not None:
            limit = self.device.limits.micro_ops
            if len(words) > limit:
                raise EncodingError(
                    f"VTA stream: {len(words)} micro-ops at once, at most {limit} fit"
                )
            number = self._numbers.setdefault(words.tobytes(), len(self._numbers))
            self._needs[len(self.instructions)] = number
        self.instructions.append(instruction)
        return instruction

    def reset(self, start: int, count: int) -> Instruction:
        """Set ``count`` accumulators from ``start`` on to zero."""
        return self.emit(Gemm((0, 1), (1, count), (0, 1), reset=True), micro_ops(start))

    def immediate(self, operation: AluOpcode, number: int, start: int, count: int) -> Instruction:
        """Combine ``count`` accumulators from ``start`` on with a number."""
        return self.emit(
            Alu((0, 1), (1, count), (0, 1), (0, 1), operation=operation, immediate=number),
            micro_ops(start, start),
        )

    def finish(self) -> Stream:
        """End the stream with FINISH behind the last LOAD and the last STORE.

        The last instruction of each of the two queues pushes a token already, or is given a no-op
        that does.
        """
        flags = Flags()
        queues = {queue_of({"opcode": each.opcode, **each.values()}) for each in self.instructions}
        if Queue.LOAD in queues:
            self.emit(Transfer(Memory.INP, flags=Flags(push_next=True), label="end"))
            flags.pop_prev = True
        if Queue.STORE in queues:
            self.emit(Transfer(Memory.OUT, flags=Flags(push_prev=True), label="end"))
            flags.pop_next = True
        self.emit(Finish(flags))
        return _stream(*self._with_micro_ops())

    def _with_micro_ops(self) -> tuple[list[Instruction], MicroOps]:
        """Put the LOADs of micro-ops in; return the instructions and the micro-ops in DRAM."""
        lists = list(self._numbers)
        sizes = [len(each) // ELEMENT_BYTES[Memory.UOP] for each in lists]
        needs = [self._needs.get(place) for place in range(len(self.instructions))]
        batches, begins = plan_batches(needs, sizes, self.device.limits.micro_ops)
        stored: dict[bytes, int] = {}
        total = 0
        loads: dict[int, Transfer] = {}
        for batch in batches:
            data = b"".join(lists[number] for number in batch.lists)
            count = len(data) // ELEMENT_BYTES[Memory.UOP]
            if data not in stored:
                stored[data] = total
                total += count
            load = Transfer(Memory.UOP, batch.start, UOPS, stored[data], 1, count, count)
            load.label = self.instructions[batch.before].label
            loads[batch.before] = load
        found: list[Instruction] = []
        for place, instruction in enumerate(self.instructions):
            if place in loads:
                found.append(loads[place])
            if isinstance(instruction, Gemm | Alu):
                number = needs[place]
                assert number is not None
                instruction.micro_ops = begins[place], begins[place] + sizes[number]
            found.append(instruction)
        return found, np.frombuffer(b"".join(stored), dtype=np.uint32).copy()


def _stream(instructions: Sequence[Instruction], words: MicroOps) -> Stream:
    names: list[str] = []
    places = np.full(len(instructions), -1, dtype=np.int16)
    for number, instruction in enumerate(instructions):
        if isinstance(instruction, Transfer) and instruction.columns:
            if instruction.buffer not in names:
                names.append(instruction.buffer)
            places[number] = names.index(instruction.buffer)
    return Stream(
        encode_stream(list(instructions)),
        tuple(names),
        places,
        words,
        tuple(instruction.label for instruction in instructions),
    )
