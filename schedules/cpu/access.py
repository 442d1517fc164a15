"""How the only reduction of a function reads and writes: what decides whether it can be tiled."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.schedule import SBlockRV

from dcc.schedules.cpu.stages import axes, stages


def split_stages(schedule: s_tir.Schedule) -> tuple[SBlockRV | None, SBlockRV | None]:
    """Find the only reduction and the map behind it, if the function has this form."""
    blocks = stages(schedule)
    found = [index for index, block in enumerate(blocks) if "R" in axes(schedule, block)]
    if len(found) != 1 or len(blocks) - found[0] > 2:
        return None, None
    reduction = blocks[found[0]]
    kinds = axes(schedule, reduction)
    if kinds != "S" * kinds.count("S") + "R" * kinds.count("R") or not kinds.startswith("S"):
        return None, None
    if len(schedule.get(reduction).writes) != 1 or not _writes_in_order(schedule, reduction):
        return None, None
    if found[0] + 1 == len(blocks):
        return reduction, None
    epilogue = blocks[-1]
    same = extents(schedule, epilogue) == extents(schedule, reduction)[: kinds.count("S")]
    if not same or not _writes_in_order(schedule, epilogue):
        return None, None
    return (reduction, epilogue) if _reads_in_order(schedule, epilogue, reduction) else (None, None)


def extents(schedule: s_tir.Schedule, block: SBlockRV) -> list[int]:
    """Constant extents of the block's axes."""
    return [int(each.dom.extent) for each in schedule.get(block).iter_vars]


def _spatial_variables(schedule: s_tir.Schedule, block: SBlockRV) -> list[tirx.Var]:
    kinds = axes(schedule, block)
    variables = [each.var for each in schedule.get(block).iter_vars]
    return [var for var, kind in zip(variables, kinds, strict=True) if kind == "S"]


def _is_identity(region: list[tvm.ir.Range], variables: list[tirx.Var]) -> bool:
    return len(region) == len(variables) and all(
        each.min.same_as(var) and int(each.extent) == 1
        for each, var in zip(region, variables, strict=True)
    )


def _writes_in_order(schedule: s_tir.Schedule, block: SBlockRV) -> bool:
    write = schedule.get(block).writes[0]
    return _is_identity(list(write.region), _spatial_variables(schedule, block))


def _reads_in_order(schedule: s_tir.Schedule, reader: SBlockRV, writer: SBlockRV) -> bool:
    """Tell whether ``reader`` reads what ``writer`` writes at its own position only."""
    buffer = schedule.get(writer).writes[0].source
    variables = _spatial_variables(schedule, reader)
    reads = [each for each in schedule.get(reader).reads if each.source.same_as(buffer)]
    return all(_is_identity(list(each.region), variables) for each in reads)


def _uses(expression: tvm.ir.Expr, variable: tirx.Var) -> bool:
    found = []

    def visit(each: tirx.Var) -> None:
        if each.same_as(variable):
            found.append(each)

    tvm_ffi.structural_walk(expression, (tirx.Var, visit))
    return bool(found)


def row_axis(schedule: s_tir.Schedule, block: SBlockRV) -> int | None:
    """Axis along which an input vector is used again: the output's channels, a matrix's rows."""
    variables = _spatial_variables(schedule, block)
    for read in schedule.get(block).reads:
        starts = [each.min for each in read.region]
        if not any(_uses(start, variables[-1]) for start in starts):
            continue
        for axis in range(len(variables) - 2, -1, -1):
            free = not any(_uses(start, variables[axis]) for start in starts)
            if free and int(schedule.get(block).iter_vars[axis].dom.extent) > 1:
                return axis
    return None


def last_axis_strides(schedule: s_tir.Schedule, block: SBlockRV) -> list[int]:
    """Step in memory for each read along the last spatial axis; empty if a read is not regular."""
    variable = _spatial_variables(schedule, block)[-1]
    strides = []
    for read in schedule.get(block).reads:
        starts = [each.min for each in read.region]
        if any(_uses(start, variable) for start in starts[:-1]):
            return []
        if not starts or not _uses(starts[-1], variable):
            strides.append(0)
            continue
        linear = tvm.sym.detect_linear_equation(starts[-1], [variable])
        if len(linear) != 2 or not isinstance(linear[0], tirx.IntImm) or int(linear[0]) < 1:
            return []
        strides.append(int(linear[0]))
    return strides


def reads_pixels_in_order(schedule: s_tir.Schedule, block: SBlockRV) -> bool:
    """Tell whether the last two axes are the last two of each read: a pointwise convolution."""
    variables = _spatial_variables(schedule, block)
    if len(variables) < 3:
        return False
    pixels = variables[-2:]
    shape = extents(schedule, block)[len(variables) - 2 : len(variables)]
    for read in schedule.get(block).reads:
        starts = [each.min for each in read.region]
        if not any(_uses(start, var) for start in starts for var in pixels):
            continue
        whole = [int(each) for each in read.source.shape[-2:]] == shape
        if not whole or not all(a.same_as(b) for a, b in zip(starts[-2:], pixels, strict=True)):
            return False
        if any(_uses(start, var) for start in starts[:-2] for var in pixels):
            return False
    return True
