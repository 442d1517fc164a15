"""The simulator behind the driver boundary: checks, runs and times every stream."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.errors import DriverError, StreamError
from dcc.targets.vta.device import VTA, Accelerator
from dcc.targets.vta.driver import PAGE, Buffer
from dcc.targets.vta.isa import ELEMENT_BYTES, INSTRUCTION_BYTES, Memory, Opcode, Words
from dcc.targets.vta.machine import Machine
from dcc.targets.vta.prepared import Instruction, prepare
from dcc.targets.vta.queues import at_random, run_queues
from dcc.targets.vta.timing import Timeline, simulate
from dcc.targets.vta.verifier import verify

_KEPT_INSTRUCTIONS = 1 << 18
"""Of streams that were checked; some kilobytes each."""


@dataclass
class SimulatedBuffer:
    """Some pages of the simulator's memory."""

    physical: int
    view: npt.NDArray[np.uint8]


class Dram:
    """Memory by pages; a gap of an unmapped page follows each allocation."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._pages: list[npt.NDArray[np.uint8]] = []
        self._next = PAGE

    def allocate(self, nbytes: int) -> SimulatedBuffer:
        """Map memory for ``nbytes``; it is filled with a pattern, not with zeros."""
        pages = -(-max(nbytes, 1) // PAGE)
        memory = np.full(pages * PAGE, 0xA5, dtype=np.uint8)
        self._starts.append(self._next)
        self._pages.append(memory)
        self._next += (pages + 1) * PAGE
        return SimulatedBuffer(self._starts[-1], memory[:nbytes])

    def free(self, buffer: Buffer) -> None:
        """Unmap an allocation."""
        place = self._starts.index(buffer.physical)
        del self._starts[place], self._pages[place]

    def read(self, address: int, nbytes: int) -> npt.NDArray[np.uint8]:
        """Bytes of one allocation.

        Raises
        ------
        StreamError
            Some of them are not mapped.
        """
        place = bisect_right(self._starts, address) - 1
        offset = address - self._starts[place] if place >= 0 else 0
        if place < 0 or offset + nbytes > len(self._pages[place]):
            raise StreamError(
                f"addresses {address:#x} to {address + nbytes - 1:#x} are not mapped, or not by "
                "one allocation"
            )
        return self._pages[place][offset : offset + nbytes]

    def write(self, address: int, data: npt.NDArray[np.uint8]) -> None:
        """Write into one allocation; errors as :meth:`read`."""
        self.read(address, len(data))[:] = data


@dataclass(frozen=True)
class _Known:
    """A stream that was checked before, decoded, with its estimate of time."""

    instructions: list[Instruction]
    timeline: Timeline


class SimulatedDriver:
    """A driver whose device is simulated.

    Attributes
    ----------
    last
        Time and traffic of the stream that ran last.
    interleave
        Seed of a random order of the queues; None runs in the order of the stream.
    check
        Whether streams must pass the verifier; what is never forgiven is found without, too.
    """

    def __init__(
        self, device: Accelerator = VTA, *, interleave: int | None = None, check: bool = True
    ) -> None:
        self.device, self.interleave, self.check = device, interleave, check
        self.memory = Dram()
        self.machine = Machine(device, self.memory.read, self.memory.write)
        self.last: Timeline = Timeline()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._kept = 0

    def allocate(self, nbytes: int, cached: bool = True) -> SimulatedBuffer:
        """Allocate whole pages."""
        if nbytes > self.device.limits.allocation:
            raise DriverError(
                f"an allocation of {nbytes:,} bytes: the device takes at most "
                f"{self.device.limits.allocation:,}"
            )
        return self.memory.allocate(nbytes)

    def free(self, buffer: Buffer) -> None:
        """Unmap a buffer."""
        self.memory.free(buffer)

    def flush(self, buffer: Buffer) -> None:
        """Do nothing: host and device share the memory."""

    def invalidate(self, buffer: Buffer) -> None:
        """Do nothing: host and device share the memory."""

    def close(self) -> None:
        """Do nothing."""

    def run(self, stream: Buffer, count: int) -> None:
        """Check, run and time a stream."""
        words = self.words(stream.physical, count)
        known = self._look_up(words)
        self.machine.forget()
        if self.interleave is None:
            for instruction in known.instructions:
                self.machine.execute(instruction)
        else:
            choose = at_random(self.interleave)
            run_queues(known.instructions, self.device, choose, self.machine.execute)
        self.last = known.timeline

    def words(self, address: int, count: int) -> Words:
        """Read a stream from memory."""
        data = self.memory.read(address, count * INSTRUCTION_BYTES)
        return data.view("<u8").reshape(-1, 2).astype(np.uint64)

    def _look_up(self, words: Words) -> _Known:
        """Check a stream once; the same words over the same micro-ops are the same stream."""
        digest = hashlib.sha256(words.tobytes())
        for data in self._micro_ops(words):
            digest.update(data)
        key = digest.digest()
        if key not in self._known:
            read = self.memory.read
            if self.check:
                instructions = verify(words, read, self.device)
            else:
                instructions = prepare(words, read, self.device)
            self._known[key] = _Known(instructions, simulate(instructions, self.device))
            self._kept += len(instructions)
            while self._kept > _KEPT_INSTRUCTIONS and len(self._known) > 1:
                _, oldest = self._known.popitem(last=False)
                self._kept -= len(oldest.instructions)
        return self._known[key]

    def _micro_ops(self, words: Words) -> list[bytes]:
        found = []
        size = ELEMENT_BYTES[Memory.UOP]
        for low, high in words.tolist():
            count = high >> 16 & 0xFFFF
            if low & 7 == Opcode.LOAD and low >> 7 & 7 == Memory.UOP and count:
                address = (low >> 26 & 0xFFFFFFFF) * size
                found.append(self.memory.read(address, count * size).tobytes())
        return found
