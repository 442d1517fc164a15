"""How many cycles a stream takes: three in-order queues, fetch, and one shared read bus.

Approximate: constants of :class:`dcc.targets.vta.device.Timing`, an event for each instruction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from dcc.errors import StreamError
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import ELEMENT_BYTES, INSTRUCTION_BYTES, Memory, Opcode, Queue
from dcc.targets.vta.prepared import Instruction
from dcc.targets.vta.queues import FIFOS, Fifo, pops, pushes


@dataclass
class Timeline:
    """When each instruction of a stream ran, in cycles from the first fetch.

    Attributes
    ----------
    starts, ends
        One entry for each instruction, in the order of the stream.
    cycles
        Until FINISH is done.
    busy
        Cycles in which each queue worked.
    bytes_read, bytes_written
        Over the bus, by memory; instructions count apart, as ``instruction_bytes``.
    micro_ops
        Multiplying micro-ops of GEMM.
    """

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    cycles: float = 0.0
    busy: dict[Queue, float] = field(default_factory=lambda: dict.fromkeys(Queue, 0.0))
    bytes_read: dict[Memory, int] = field(default_factory=dict)
    bytes_written: int = 0
    instruction_bytes: int = 0
    micro_ops: int = 0

    @property
    def utilisation(self) -> float:
        """Share of the cycles in which the matrix unit could have multiplied that it did."""
        return self.micro_ops / self.cycles if self.cycles else 0.0


class _Bus:
    """The read bus: one transfer after the other, but instructions and micro-ops go first."""

    def __init__(self) -> None:
        self.free = 0.0

    def transfer(self, ready: float, cycles: float, urgent: bool = False) -> float:
        """Occupy the bus from ``ready`` on; return when the last beat has arrived.

        An urgent transfer takes its turn after the burst that is under way; what is left of others
        comes later by as much.
        """
        self.free = max(self.free, ready) + cycles
        return ready + cycles if urgent else self.free


class _Fetch:
    """Reads instructions in bursts and hands them out, one a cycle, while the queues have room."""

    def __init__(self, instructions: Sequence[Instruction], device: Accelerator, bus: _Bus) -> None:
        self._instructions, self._device, self._bus = instructions, device, bus
        self._next = self._read = 0
        self.time = 0.0
        self._room: dict[Queue, deque[float]] = {queue: deque() for queue in Queue}
        self._pushed = dict.fromkeys(Queue, 0)

    def next_start(self) -> float | None:
        """When fetch can go on; None where it waits for a queue, or is done."""
        if self._next == len(self._instructions):
            return None
        queue = self._instructions[self._next].queue
        if self._pushed[queue] < self._device.limits.queue:
            return self.time
        return max(self.time, self._room[queue][0]) if self._room[queue] else None

    def step(self, start: float) -> tuple[Queue, float]:
        """Hand out one instruction; return its queue and when it is there."""
        timing = self._device.timing
        if self._next == self._read:
            count = min(timing.fetch_burst, len(self._instructions) - self._read)
            beats = count * INSTRUCTION_BYTES / timing.bus_bytes
            ready = start + timing.read_latency
            start = self._bus.transfer(ready, beats * timing.beat, urgent=True)
            self._read += count
        queue = self._instructions[self._next].queue
        if self._pushed[queue] >= self._device.limits.queue:
            self._room[queue].popleft()
        self._pushed[queue] += 1
        self._next += 1
        self.time = start + 1
        return queue, self.time

    def started(self, queue: Queue, time: float) -> None:
        """Note that a queue has taken an instruction, which makes room."""
        self._room[queue].append(time)


def simulate(instructions: Sequence[Instruction], device: Accelerator) -> Timeline:
    """Estimate when each instruction runs.

    Raises
    ------
    StreamError
        The stream does not come to its end.
    """
    count = len(instructions)
    line = Timeline([0.0] * count, [0.0] * count)
    bus = _Bus()
    fetch = _Fetch(instructions, device, bus)
    arrived: dict[Queue, deque[tuple[int, float]]] = {queue: deque() for queue in Queue}
    tokens: dict[Fifo, deque[float]] = {fifo: deque() for fifo in FIFOS}
    free = dict.fromkeys(Queue, 0.0)
    done = 0
    while done < count:
        best, queue = fetch.next_start(), None
        for candidate in Queue:
            start = _start(candidate, arrived, tokens, free, instructions)
            if start is not None and (best is None or start < best):
                best, queue = start, candidate
        if best is None:
            raise StreamError("deadlock: no queue of the stream can go on")
        if queue is None:
            target, time = fetch.step(best)
            arrived[target].append((fetch._next - 1, time))
            continue
        number, _ = arrived[queue].popleft()
        instruction = instructions[number]
        for fifo in pops(instruction):
            tokens[fifo].popleft()
        end = _run(instruction, best, device, bus)
        fetch.started(queue, best)
        line.starts[number], line.ends[number] = best, end
        line.busy[queue] += end - best
        free[queue] = end
        for fifo in pushes(instruction):
            tokens[fifo].append(end)
        done += 1
    line.cycles = line.ends[-1] if count else 0.0
    _count_traffic(instructions, line)
    return line


def _start(
    queue: Queue,
    arrived: dict[Queue, deque[tuple[int, float]]],
    tokens: dict[Fifo, deque[float]],
    free: dict[Queue, float],
    instructions: Sequence[Instruction],
) -> float | None:
    """When the next instruction of a queue can start; None while that is unknown."""
    if not arrived[queue]:
        return None
    number, start = arrived[queue][0]
    start = max(start, free[queue])
    for fifo in pops(instructions[number]):
        if not tokens[fifo]:
            return None
        start = max(start, tokens[fifo][0])
    return start


def _run(instruction: Instruction, start: float, device: Accelerator, bus: _Bus) -> float:
    """When an instruction that starts at ``start`` is done."""
    timing = device.timing
    if instruction.is_no_operation or instruction.opcode == Opcode.FINISH:
        return start + timing.no_operation
    if instruction.opcode == Opcode.LOAD:
        beats = -(
            -instruction.dram_elements * ELEMENT_BYTES[instruction.memory] // timing.bus_bytes
        )
        urgent = instruction.memory == Memory.UOP
        end = bus.transfer(start + timing.read_latency, beats * timing.beat, urgent)
        padding = instruction.sram_elements - instruction.dram_elements
        hidden = end - start - beats
        return end + max(0.0, padding - hidden)
    if instruction.opcode == Opcode.STORE:
        size = ELEMENT_BYTES[Memory.OUT]
        rows, columns = instruction.fields["y_size"], instruction.fields["x_size"]
        if instruction.fields["x_stride"] == columns:
            rows, columns = 1, rows * columns
        bursts = rows * -(-columns * size // timing.burst_bytes)
        return start + bursts * timing.store_burst + rows * columns * timing.store_element
    tensor = instruction.opcode == Opcode.ALU and not instruction.fields["use_imm"]
    return start + timing.instruction + instruction.iterations * (2 if tensor else 1)


def _count_traffic(instructions: Sequence[Instruction], line: Timeline) -> None:
    line.instruction_bytes = len(instructions) * INSTRUCTION_BYTES
    for instruction in instructions:
        if instruction.opcode in (Opcode.LOAD, Opcode.STORE):
            memory = instruction.memory
            moved = instruction.dram_elements * ELEMENT_BYTES[memory]
            if instruction.opcode == Opcode.STORE:
                line.bytes_written += moved
            else:
                line.bytes_read[memory] = line.bytes_read.get(memory, 0) + moved
        elif instruction.opcode == Opcode.GEMM and not instruction.fields["reset"]:
            line.micro_ops += instruction.iterations
