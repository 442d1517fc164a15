"""What the PrimFunc of an ordinary operator consists of, and the clean-up before it is scheduled.

After fusion a function is a list of loop nests ("stages"), one block each: paddings, reductions and
element-wise stages, each of which passes its result on through a whole buffer in memory.
"""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV

_SPATIAL, _REDUCTION = 0, 2  # tvm.tirx.IterVar's kinds


def stages(schedule: s_tir.Schedule) -> list[SBlockRV]:
    """List the function's blocks in the order in which they run."""
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def is_supported(schedule: s_tir.Schedule) -> bool:
    """Tell whether all extents are constant and each block is a plain map or reduction."""
    for block in stages(schedule):
        kinds = {int(each.iter_type) for each in schedule.get(block).iter_vars}
        if not kinds <= {_SPATIAL, _REDUCTION} or schedule.get_child_blocks(block):
            return False
        loops = [schedule.get(loop) for loop in schedule.get_loops(block)]
        if not all(isinstance(loop.extent, tirx.IntImm) for loop in loops):
            return False
    return True


def axes(schedule: s_tir.Schedule, block: SBlockRV) -> str:
    """Kinds of the block's axes, such as ``SSR`` for a matrix product."""
    names = {_SPATIAL: "S", _REDUCTION: "R"}
    return "".join(names[int(each.iter_type)] for each in schedule.get(block).iter_vars)


def extent(schedule: s_tir.Schedule, loop: LoopRV) -> int:
    """Constant number of a loop's iterations."""
    return int(schedule.get(loop).extent)


def work(schedule: s_tir.Schedule, block: SBlockRV) -> int:
    """Count how often the block runs."""
    return math.prod(extent(schedule, loop) for loop in schedule.get_loops(block))


def inline_maps(schedule: s_tir.Schedule) -> None:
    """Inline each spatial stage into its consumers where that does not repeat its work.

    What a reduction reads stays in memory unless it is a mere copy: a padding's condition or an
    exponential would be evaluated once for each element of the reduction.
    """
    for block in stages(schedule):
        consumers = schedule.get_consumers(block)
        if "R" in axes(schedule, block) or not consumers:
            continue
        read_by_reduction = any("R" in axes(schedule, each) for each in consumers)
        repeated = len(consumers) > 1 or read_by_reduction
        if repeated and not _is_copy(schedule, block) and work(schedule, block) > 1:
            continue
        try:
            schedule.compute_inline(block)
        except s_tir.schedule.ScheduleError:
            continue


def _is_copy(schedule: s_tir.Schedule, block: SBlockRV) -> bool:
    """Tell whether the block stores plain loads at the positions they come from."""
    store = schedule.get(block).body
    if not isinstance(store, tirx.BufferStore) or not isinstance(store.value, tvm.ir.TensorLoad):
        return False
    pairs = zip(store.indices, store.value.indices, strict=False)
    same_rank = len(store.indices) == len(store.value.indices)
    return same_rank and all(tvm_ffi.structural_equal(one, other) for one, other in pairs)
