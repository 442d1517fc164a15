"""Where the cycles and bytes of an operation go, on the device and on the host beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dcc.targets.vta.isa import Memory, Queue
from dcc.targets.vta.timing import Timeline


@dataclass
class StreamRun:
    """One stream and the host's work for it.

    Attributes
    ----------
    timeline
        None where the driver does not tell.
    expand_cycles
        Of the host, in cycles of the device's clock.
    coded_bytes, bytes_expanded
        What the host read and wrote.
    """

    timeline: Timeline | None
    expand_cycles: float = 0.0
    coded_bytes: int = 0
    bytes_expanded: int = 0


@dataclass
class OperationRun:
    """All streams of an operation, one after the other."""

    name: str
    streams: list[StreamRun] = field(default_factory=list)

    @property
    def device_cycles(self) -> float:
        """Cycles in which the device ran."""
        return sum(run.timeline.cycles for run in self.streams if run.timeline is not None)

    @property
    def expand_cycles(self) -> float:
        """Cycles in which the host expanded weights."""
        return sum(run.expand_cycles for run in self.streams)

    @property
    def cycles(self) -> float:
        """From the first expansion or fetch to the last FINISH."""
        return overlapped_cycles(self.streams)

    @property
    def idle_cycles(self) -> float:
        """Cycles in which the device waited for the host."""
        return self.cycles - self.device_cycles

    @property
    def micro_ops(self) -> int:
        """Multiplications of blocks."""
        return sum(run.timeline.micro_ops for run in self.streams if run.timeline is not None)

    @property
    def utilisation(self) -> float:
        """Micro-ops of GEMM for each cycle."""
        return self.micro_ops / self.cycles if self.cycles else 0.0

    def busy(self, queue: Queue) -> float:
        """Cycles in which a queue worked."""
        return sum(run.timeline.busy[queue] for run in self.streams if run.timeline is not None)

    def loaded(self, memory: Memory) -> int:
        """Bytes that LOADs of a memory moved."""
        timelines = (run.timeline for run in self.streams if run.timeline is not None)
        return sum(timeline.bytes_read.get(memory, 0) for timeline in timelines)

    @property
    def stored(self) -> int:
        """Bytes that STOREs moved."""
        return sum(run.timeline.bytes_written for run in self.streams if run.timeline is not None)

    @property
    def coded_bytes(self) -> int:
        """Bytes of coded weights that the host read."""
        return sum(run.coded_bytes for run in self.streams)

    @property
    def bytes_expanded(self) -> int:
        """Bytes of weights that the host wrote."""
        return sum(run.bytes_expanded for run in self.streams)

    @property
    def dram_weight_bytes(self) -> int:
        """Weight bytes from DRAM where a coherent port serves expanded weights from a cache."""
        return self.coded_bytes or self.loaded(Memory.WGT)

    @property
    def dram_weight_bytes_incoherent(self) -> int:
        """Weight bytes to and from DRAM where expanded weights go through it."""
        loaded = self.loaded(Memory.WGT)
        return self.coded_bytes + self.bytes_expanded + loaded if self.coded_bytes else loaded

    @property
    def dram_bytes(self) -> int:
        """All bytes that LOADs, STOREs and the host moved, with a coherent port."""
        others = sum(self.loaded(memory) for memory in (Memory.INP, Memory.ACC, Memory.UOP))
        return others + self.stored + self.dram_weight_bytes


def overlapped_cycles(streams: Sequence[StreamRun]) -> float:
    """End of a sequence of streams whose weights the host expands one stream ahead."""
    ready = ended = before = 0.0
    for run in streams:
        # The half that this stream's weights go to was read by the stream before the last.
        ready = max(ready, before) + run.expand_cycles
        before = ended
        cycles = run.timeline.cycles if run.timeline is not None else 0.0
        ended = max(ended, ready) + cycles
    return ended
