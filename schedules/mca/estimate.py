"""Time of a kernel on a core that is not here.

The larger of two: cycles of every piece of the kernel's code times how often it runs, and the bytes
that a run must read and write over the bandwidth of main memory, for dense and compressed weights
alike. What runs together in a loop is one piece.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import tirx as tir

from dcc.errors import TargetError
from dcc.schedules.mca.assembly import AssemblyFunction, read_function
from dcc.schedules.mca.counting import Array, count_blocks
from dcc.schedules.mca.cycles import cycles_of
from dcc.schedules.raw_kernels import build_raw
from dcc.targets.target import Target

_NAME = "dcc_kernel"


@dataclass(frozen=True)
class Piece:
    """Code that runs together: its instructions, runs, and cycles of one."""

    instructions: tuple[str, ...]
    runs: int
    cycles: float


@dataclass(frozen=True)
class KernelEstimate:
    """What one run takes on one core.

    Attributes
    ----------
    arithmetic, memory
        Nanoseconds by cycles, and by bytes.
    pieces
        The code, most cycles first.
    results
        What the kernel computed under emulation.
    """

    arithmetic: float
    memory: float
    pieces: tuple[Piece, ...]
    results: list[Array]

    @property
    def nanoseconds(self) -> float:
        """The larger of the two."""
        return max(self.arithmetic, self.memory)


def estimate_kernel(
    kernel: tir.PrimFunc, arguments: Sequence[Array], target: Target, outputs: int = 1
) -> KernelEstimate:
    """Run a kernel under emulation and estimate its time on ``target``.

    Parameters
    ----------
    kernel
        Over buffers, the last ``outputs`` of which are its results.
    arguments
        Their contents.

    Raises
    ------
    TargetError
        The target has no model of a core, or a tool is missing.
    CompileError
        The kernel cannot be built or run.
    """
    if target.pipeline is None:
        raise TargetError(
            f"target '{target.name}' has no model of its pipeline: cycles can be estimated for "
            "ARM cores (see 'dcc targets')"
        )
    raw = build_raw({_NAME: kernel}, target)
    function = read_function(raw.module.inspect_source("asm"), _NAME)
    scratch = np.zeros(max(raw.scratch[_NAME], 1), np.uint8)
    written = range(len(arguments) - outputs, len(arguments))
    run = count_blocks(function, [*arguments, scratch], written, target.triple)
    pieces = _pieces(function, run.counts, target)
    cycles = sum(piece.runs * piece.cycles for piece in pieces)
    size = sum(array.nbytes for array in arguments)
    return KernelEstimate(
        cycles / target.pipeline.clock, size / target.memory_bandwidth, pieces, run.results
    )


def _pieces(
    function: AssemblyFunction, counts: npt.NDArray[np.uint64], target: Target
) -> tuple[Piece, ...]:
    """Blocks of one loop that run equally often are one piece."""
    assert target.pipeline is not None
    grouped: dict[tuple[int, int], list[str]] = defaultdict(list)
    for block, count in zip(function.blocks, counts.tolist(), strict=True):
        if count:
            grouped[block.loop, count].extend(block.instructions)
    cycles = cycles_of(list(grouped.values()), target.triple, target.pipeline.model)
    pieces = [
        Piece(tuple(code), count, each)
        for ((_, count), code), each in zip(grouped.items(), cycles, strict=True)
    ]
    return tuple(sorted(pieces, key=lambda piece: -piece.runs * piece.cycles))
