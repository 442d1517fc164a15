"""Simulated cycles of a stream, without any data: what the tuner measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.buffers import UOPS
from dcc.codegen.vta.stream import Stream
from dcc.errors import StreamError
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import Opcode, Queue
from dcc.targets.vta.prepared import Instruction, prepare
from dcc.targets.vta.timing import Timeline, simulate

_MICRO_OPS_AT = 1 << 12
_OTHERS_AT = 1 << 24


def stream_timeline(stream: Stream, device: Accelerator) -> Timeline:
    """Estimate the time of a stream.

    Raises
    ------
    StreamError
        The stream is malformed, or does not come to its end.
    """
    return simulate(_prepared(stream, device), device)


@dataclass
class ComputeCycles:
    """What the compute queue does, in cycles; together those of the stream.

    Attributes
    ----------
    multiply
        Multiplying micro-ops of GEMM.
    reset
        Accumulators set to zero.
    alu
        Operations on accumulators.
    loads
        LOADs of micro-ops and accumulators.
    dispatch
        Start and drain of instructions, and no-ops.
    waits
        For LOADs, STOREs and instructions.
    """

    multiply: float = 0.0
    reset: float = 0.0
    alu: float = 0.0
    loads: float = 0.0
    dispatch: float = 0.0
    waits: float = 0.0


def compute_cycles(stream: Stream, device: Accelerator) -> ComputeCycles:
    """Account for every cycle of a stream; errors as :func:`stream_timeline`."""
    instructions = _prepared(stream, device)
    line = simulate(instructions, device)
    found = ComputeCycles()
    ended = 0.0
    for instruction, start, end in zip(instructions, line.starts, line.ends, strict=True):
        if instruction.queue != Queue.COMPUTE:
            continue
        found.waits += max(start - ended, 0.0)
        kind = _kind(instruction)
        cycles = end - start
        if instruction.opcode in (Opcode.GEMM, Opcode.ALU):
            cycles -= device.timing.instruction
            found.dispatch += device.timing.instruction
        setattr(found, kind, getattr(found, kind) + cycles)
        ended = end
    return found


def _kind(instruction: Instruction) -> str:
    if instruction.opcode == Opcode.GEMM:
        return "reset" if instruction.fields["reset"] else "multiply"
    if instruction.opcode == Opcode.ALU:
        return "alu"
    moves = instruction.opcode != Opcode.FINISH and not instruction.is_no_operation
    return "loads" if moves else "dispatch"


def _prepared(stream: Stream, device: Accelerator) -> list[Instruction]:
    data = stream.micro_ops.astype("<u4").view(np.uint8)

    def read(address: int, nbytes: int) -> npt.NDArray[np.uint8]:
        start = address - _MICRO_OPS_AT
        if start < 0 or start + nbytes > len(data):
            raise StreamError(f"address {address:#x} holds no micro-ops")
        return data[start : start + nbytes]

    addresses = {name: _MICRO_OPS_AT if name == UOPS else _OTHERS_AT for name in stream.buffers}
    return prepare(stream.placed(addresses), read, device)
