"""The schedule for everything that is not tiled: outer loops in parallel where that pays.

Inner loops are left to LLVM, which vectorises what is contiguous, remainders included.
"""

from __future__ import annotations

from tvm import s_tir, tirx
from tvm.s_tir import dlight
from tvm.s_tir.schedule import SBlockRV
from tvm.target import Target

from dcc.schedules.cpu.stages import axes, extent, inline_maps, is_supported, stages, work

PARALLEL_WORK = 32_768
"""Runs of a block from which on a parallel loop pays: starting one takes 2.6 us."""
_INDEPENDENT_CHAINS = 8


class ParallelLoops(dlight.ScheduleRule):
    """Inline what can be, then run the outer loops of each stage in parallel."""

    def apply(self, func: tirx.PrimFunc, target: Target, tunable: bool) -> s_tir.Schedule | None:
        """Schedule ``func``, or return None if it is not of the plain kind."""
        schedule = s_tir.Schedule(func)
        if not is_supported(schedule):
            return None
        inline_maps(schedule)
        for block in stages(schedule):
            if "R" in axes(schedule, block):
                _interleave(schedule, block)
            parallelize(schedule, block)
        return schedule


def parallelize(schedule: s_tir.Schedule, block: SBlockRV) -> None:
    """Fuse a stage's leading spatial loops, but for the innermost, and run them in parallel."""
    loops = schedule.get_loops(block)
    if work(schedule, block) < PARALLEL_WORK or len(loops) == 0:
        return
    kinds = axes(schedule, block)
    leading = len(kinds) - len(kinds.lstrip("S"))
    if leading == 0:
        return
    outer = loops[: max(min(leading, len(loops) - 1), 1)]
    fused = schedule.fuse(*outer) if len(outer) > 1 else outer[0]
    if extent(schedule, fused) == 1:
        return
    schedule.parallel(fused)


def _interleave(schedule: s_tir.Schedule, block: SBlockRV) -> None:
    """Let several results grow side by side: one alone waits for each addition to end."""
    loops = schedule.get_loops(block)
    kinds = axes(schedule, block)
    if len(loops) != len(kinds):
        return
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == "S"]
    reductions = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == "R"]
    wide = [loop for loop in spatial if extent(schedule, loop) % _INDEPENDENT_CHAINS == 0]
    if not wide or kinds != "S" * len(spatial) + "R" * len(reductions):
        return
    outer, inner = schedule.split(wide[-1], [None, _INDEPENDENT_CHAINS])
    spatial[spatial.index(wide[-1])] = outer
    schedule.reorder(*spatial, *reductions, inner)
    schedule.unroll(inner)
