"""A stream under construction: instructions, the micro-ops that they use, places in DRAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.instructions import (
    Alu,
    Finish,
    Flags,
    Gemm,
    Instruction,
    Transfer,
    encode_stream,
)
from dcc.errors import EncodingError
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import ELEMENT_BYTES, AluOpcode, Memory, Words

MicroOps = npt.NDArray[np.uint32]
UOPS = "uops"
"""Buffer of the micro-ops of a stream."""


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
    """Collects instructions; loads micro-ops when a list of them is first asked for.

    Micro-ops stay in their buffer until it is full; then it is filled from its start again. Their
    loads run in the compute queue, as do their readers, so no token is needed.
    """

    device: Accelerator
    instructions: list[Instruction] = field(default_factory=list)
    label: str = ""
    _stored: dict[bytes, int] = field(default_factory=dict)
    _resident: dict[bytes, int] = field(default_factory=dict)
    _used: int = 0
    _total: int = 0

    def emit(self, instruction: Instruction) -> Instruction:
        """Append an instruction; it belongs to the tile ``label``."""
        instruction.label = instruction.label or self.label
        self.instructions.append(instruction)
        return instruction

    def micro_ops(self, words: MicroOps) -> tuple[int, int]:
        """Make sure that a list of micro-ops is loaded; return its begin and end."""
        key, count = words.tobytes(), len(words)
        limit = self.device.limits.micro_ops
        if count > limit:
            raise EncodingError(f"VTA stream: {count} micro-ops at once, at most {limit} fit")
        if key not in self._resident:
            if self._used + count > limit:
                self._resident.clear()
                self._used = 0
            if key not in self._stored:
                self._stored[key] = self._total
                self._total += count
            self.emit(Transfer(Memory.UOP, self._used, UOPS, self._stored[key], 1, count, count))
            self._resident[key] = self._used
            self._used += count
        begin = self._resident[key]
        return begin, begin + count

    def reset(self, start: int, count: int) -> Instruction:
        """Set ``count`` accumulators from ``start`` on to zero."""
        loop = self.micro_ops(micro_ops(start))
        return self.emit(Gemm(loop, (1, count), (0, 1), reset=True))

    def immediate(self, operation: AluOpcode, number: int, start: int, count: int) -> Instruction:
        """Combine ``count`` accumulators from ``start`` on with a number."""
        loop = self.micro_ops(micro_ops(start, start))
        return self.emit(
            Alu(loop, (1, count), (0, 1), (0, 1), operation=operation, immediate=number)
        )

    def finish(self) -> Stream:
        """End the stream with FINISH behind the last LOAD and the last STORE.

        The last instruction of each of the two queues pushes a token already, or is given a no-op
        that does.
        """
        flags = Flags()
        queues = [_queue(instruction) for instruction in self.instructions]
        if "load" in queues:
            self.emit(Transfer(Memory.INP, flags=Flags(push_next=True), label="end"))
            flags.pop_prev = True
        if "store" in queues:
            self.emit(Transfer(Memory.OUT, flags=Flags(push_prev=True), label="end"))
            flags.pop_next = True
        self.emit(Finish(flags))
        return self._stream()

    def _stream(self) -> Stream:
        names: list[str] = []
        places = np.full(len(self.instructions), -1, dtype=np.int16)
        for number, instruction in enumerate(self.instructions):
            if isinstance(instruction, Transfer) and instruction.columns:
                if instruction.buffer not in names:
                    names.append(instruction.buffer)
                places[number] = names.index(instruction.buffer)
        stored = np.frombuffer(b"".join(self._stored), dtype=np.uint32)
        return Stream(
            encode_stream(self.instructions),
            tuple(names),
            places,
            stored.copy(),
            tuple(instruction.label for instruction in self.instructions),
        )


def _queue(instruction: Instruction) -> str:
    if isinstance(instruction, Transfer):
        if instruction.memory == Memory.OUT:
            return "store"
        if instruction.memory in (Memory.INP, Memory.WGT):
            return "load"
    return "compute"
