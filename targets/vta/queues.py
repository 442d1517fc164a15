"""The three queues and their dependence tokens: which orders a stream allows.

Fetch reads in order and stalls on a full queue. A queue runs its instructions in order; one starts
when the tokens that it pops are there and pushes its own when it is done. The result of a correct
stream does not depend on the order, so the checks run the orders that are worst for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dcc.errors import StreamError
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import Opcode, Queue
from dcc.targets.vta.prepared import Instruction

Fifo = tuple[Queue, Queue]
LOAD_COMPUTE: Fifo = (Queue.LOAD, Queue.COMPUTE)
COMPUTE_LOAD: Fifo = (Queue.COMPUTE, Queue.LOAD)
COMPUTE_STORE: Fifo = (Queue.COMPUTE, Queue.STORE)
STORE_COMPUTE: Fifo = (Queue.STORE, Queue.COMPUTE)
FIFOS = (LOAD_COMPUTE, COMPUTE_LOAD, COMPUTE_STORE, STORE_COMPUTE)

_PREVIOUS = {Queue.COMPUTE: Queue.LOAD, Queue.STORE: Queue.COMPUTE}
_NEXT = {Queue.LOAD: Queue.COMPUTE, Queue.COMPUTE: Queue.STORE}
Choose = Callable[[Sequence[Queue]], Queue]


def pops(instruction: Instruction) -> list[Fifo]:
    """FIFOs that an instruction waits for."""
    queue, fields = instruction.queue, instruction.fields
    found = []
    if fields["pop_prev"]:
        found.append((_PREVIOUS[queue], queue))
    if fields["pop_next"]:
        found.append((_NEXT[queue], queue))
    return found


def pushes(instruction: Instruction) -> list[Fifo]:
    """FIFOs that an instruction puts a token into."""
    queue, fields = instruction.queue, instruction.fields
    found = []
    if fields["push_prev"]:
        found.append((queue, _PREVIOUS[queue]))
    if fields["push_next"]:
        found.append((queue, _NEXT[queue]))
    return found


def check_flags(instruction: Instruction) -> None:
    """Raise StreamError where a flag points to a stage that is not there."""
    queue = instruction.queue
    for direction, stages in (("prev", _PREVIOUS), ("next", _NEXT)):
        for action in ("pop", "push"):
            if instruction.fields[f"{action}_{direction}"] and queue not in stages:
                raise instruction.fail(
                    f"{action}_{direction} is set, but the {queue.name} queue has no such stage"
                )


@dataclass
class Run:
    """One order in which a stream may run.

    Attributes
    ----------
    order
        Numbers of the instructions as they ran.
    most_tokens
        Most tokens that waited in each FIFO.
    """

    order: list[int] = field(default_factory=list)
    most_tokens: dict[Fifo, int] = field(default_factory=lambda: dict.fromkeys(FIFOS, 0))


def run_queues(
    instructions: Sequence[Instruction],
    device: Accelerator,
    choose: Choose,
    execute: Callable[[Instruction], None] | None = None,
) -> Run:
    """Run a stream in the order that ``choose`` picks among the queues that can go on.

    Raises
    ------
    StreamError
        A deadlock, tokens left over, or what ``execute`` raises.
    """
    waiting: dict[Queue, deque[Instruction]] = {queue: deque() for queue in Queue}
    tokens = dict.fromkeys(FIFOS, 0)
    needs = [pops(instruction) for instruction in instructions]
    gives = [pushes(instruction) for instruction in instructions]
    run, fetched = Run(), 0
    while True:
        while (
            fetched < len(instructions)
            and len(waiting[instructions[fetched].queue]) < device.limits.queue
        ):
            waiting[instructions[fetched].queue].append(instructions[fetched])
            fetched += 1
        ready = [
            queue
            for queue, pending in waiting.items()
            if pending and all(tokens[fifo] for fifo in needs[pending[0].number])
        ]
        if not ready:
            break
        queue = choose(ready) if len(ready) > 1 else ready[0]
        instruction = waiting[queue].popleft()
        if execute is not None:
            execute(instruction)
        run.order.append(instruction.number)
        for fifo in needs[instruction.number]:
            tokens[fifo] -= 1
        for fifo in gives[instruction.number]:
            tokens[fifo] += 1
            run.most_tokens[fifo] = max(run.most_tokens[fifo], tokens[fifo])
    if len(run.order) < len(instructions):
        raise StreamError(_deadlock(waiting, tokens, needs))
    left = [f"{count} {_name(fifo)}" for fifo, count in tokens.items() if count]
    if left:
        raise StreamError(f"tokens are left over at the end: {', '.join(left)}")
    return run


def first_of(*queues: Queue) -> Choose:
    """Prefer the queues in this order."""
    return lambda ready: next(queue for queue in queues if queue in ready)


def at_random(seed: int) -> Choose:
    """Pick among the queues at random, with odds of the seed's own: some seeds starve a queue."""
    generator = np.random.default_rng(seed)
    odds = 10.0 ** generator.uniform(-4, 0, len(Queue))

    def choose(ready: Sequence[Queue]) -> Queue:
        weights = odds[[int(queue) for queue in ready]]
        return ready[int(generator.choice(len(ready), p=weights / weights.sum()))]

    return choose


def check_tokens(instructions: Sequence[Instruction], device: Accelerator) -> list[int]:
    """Check deadlock, left-over tokens, their greatest number, and that FINISH comes last.

    Returns
    -------
    list of int
        One order in which the stream runs.
    """
    for instruction in instructions:
        check_flags(instruction)
    last = instructions[-1] if instructions else None
    if last is None or last.opcode != Opcode.FINISH:
        raise StreamError("the stream does not end with FINISH")
    early = [i for i in instructions[:-1] if i.opcode == Opcode.FINISH]
    if early:
        raise early[0].fail("only the last instruction may be FINISH")
    # A FIFO is fullest when its consumer runs only where nothing else can.
    for producer, consumer in FIFOS:
        others = [queue for queue in Queue if queue != consumer]
        others.sort(key=lambda queue: queue != producer)
        run = run_queues(instructions, device, first_of(*others, consumer))
        most = run.most_tokens[producer, consumer]
        if most > device.limits.tokens:
            raise StreamError(
                f"{most} tokens may wait in {_name((producer, consumer))}, "
                f"at most {device.limits.tokens} are portable"
            )
    run = run_queues(instructions, device, first_of(Queue.COMPUTE, Queue.LOAD, Queue.STORE))
    if run.order[-1] != last.number:
        late = instructions[run.order[-1]]
        raise last.fail(
            f"may run before instruction {late.number} ({late.opcode.name}): it has to pop a "
            "token that the last LOAD and the last STORE lead to"
        )
    other = run_queues(instructions, device, first_of(Queue.COMPUTE, Queue.STORE, Queue.LOAD))
    if other.order[-1] != last.number:
        raise last.fail("may run before the last LOAD: it has to pop a token that it leads to")
    return run.order


def clocks(
    instructions: Sequence[Instruction], order: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How much of each queue is certainly done when an instruction starts.

    Returns
    -------
    ranks
        Shape (instructions,): place in its own queue, from 1.
    before
        Shape (instructions, queues): instructions of each queue that happen before.
    """
    ranks = np.zeros(len(instructions), dtype=np.int64)
    before = np.zeros((len(instructions), len(Queue)), dtype=np.int64)
    done = {queue: np.zeros(len(Queue), dtype=np.int64) for queue in Queue}
    tokens: dict[Fifo, deque[npt.NDArray[np.int64]]] = {fifo: deque() for fifo in FIFOS}
    for number in order:
        instruction = instructions[number]
        clock = done[instruction.queue].copy()
        for fifo in pops(instruction):
            clock = np.maximum(clock, tokens[fifo].popleft())
        before[number] = clock
        ranks[number] = clock[instruction.queue] + 1
        after = clock.copy()
        after[instruction.queue] += 1
        done[instruction.queue] = after
        for fifo in pushes(instruction):
            tokens[fifo].append(after)
    return ranks, before


def _name(fifo: Fifo) -> str:
    return f"{fifo[0].name.lower()}->{fifo[1].name.lower()}"


def _deadlock(
    waiting: dict[Queue, deque[Instruction]],
    tokens: dict[Fifo, int],
    needs: Sequence[Sequence[Fifo]],
) -> str:
    stuck = []
    for pending in waiting.values():
        if pending:
            first = pending[0]
            missing = [_name(fifo) for fifo in needs[first.number] if not tokens[fifo]]
            name = f"instruction {first.number} ({first.opcode.name})"
            stuck.append(f"{name} waits for {' and '.join(missing)}")
    return f"deadlock: {'; '.join(stuck)}"
