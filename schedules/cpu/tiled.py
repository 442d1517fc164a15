"""The schedule of ordinary convolutions, pooling and matrix products: tiles held in registers.

A tile is some rows of the output (channels of a convolution, rows of a matrix) by some whole
vectors along the output's last axis. Its results stay in registers over the whole reduction; a
vector of the input serves all rows, a weight all vectors. Extents are split without remainders:
LLVM lowers vectors of any number of lanes, so that the lanes are the divisor of the extent that
fills the hardware's vectors best.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir import dlight
from tvm.s_tir.schedule import LoopRV, SBlockRV

from dcc.schedules.cpu.loops import PARALLEL_WORK, parallelize
from dcc.schedules.cpu.stages import axes, extent, inline_maps, is_supported, stages, work

_MOST_VECTORS = 4
_MOST_ROWS = 16
_LONGEST_LINE = 512


@dataclass(frozen=True)
class _Tile:
    """Output rows, lines of pixels and pixels of a line that stay in registers together."""

    rows: int
    lines: int
    lanes: int
    vectors: bool = True


class RegisterTiles(dlight.ScheduleRule):
    """Schedule functions with one reduction, whose last axis is contiguous in what it reads."""

    def __init__(self, vector_floats: int) -> None:
        self._lanes = vector_floats
        # Half the registers hold results; more spill, fewer wait for each other.
        self._registers = 16 if vector_floats == 16 else 8

    def apply(
        self, func: tirx.PrimFunc, target: tvm.target.Target, tunable: bool
    ) -> s_tir.Schedule | None:
        """Schedule ``func``, or return None if it has another form."""
        schedule = s_tir.Schedule(func)
        if not is_supported(schedule):
            return None
        inline_maps(schedule)
        reduction, epilogue = _split_stages(schedule)
        if reduction is None:
            return None
        if epilogue is None:
            epilogue = schedule.cache_write(reduction, 0, "global")
        if _reads_pixels_in_order(schedule, reduction):
            _flatten_pixels(schedule, reduction, epilogue)
        strides = _last_axis_strides(schedule, reduction)
        if not strides or max(strides) == 0:
            return None
        tile = self._choose(schedule, reduction)
        if tile is None:
            return None
        if max(strides) > 1 and not tile.vectors:
            _deinterleave(schedule, reduction, max(strides))
        for block in schedule.get_producers(reduction):
            parallelize(schedule, block)
        _apply_tile(schedule, reduction, epilogue, tile)
        return schedule

    def _choose(self, schedule: s_tir.Schedule, block: SBlockRV) -> _Tile | None:
        """Choose the tile that fills the vectors and, as far as they go, the registers."""
        dtype = schedule.get(block).writes[0].source.dtype
        per_vector = max(self._lanes * 32 // dtype.bits, 1)
        extents = [int(each.dom.extent) for each in schedule.get(block).iter_vars]
        spatial = extents[: axes(schedule, block).count("S")]
        # LLVM handles part of a vector well, but not several vectors and a part: whole ones then.
        candidates = [
            lanes
            for lanes in _divisors(spatial[-1])
            if lanes <= per_vector
            or (lanes % per_vector == 0 and lanes <= _MOST_VECTORS * per_vector)
        ]
        lanes = min(candidates, key=lambda each: _cost(each, per_vector))
        if lanes < per_vector / 2 and spatial[-1] > per_vector:
            return self._whole_line(schedule, block, spatial)
        if lanes == 1:
            return None
        left = self._registers // -(-lanes // per_vector)
        shared = _row_axis(schedule, block)
        rows = _largest_divisor(spatial[shared], min(left, _MOST_ROWS)) if shared is not None else 1
        line_axis = len(spatial) - 2
        lines = 1
        if line_axis >= 0 and line_axis != shared:
            lines = _largest_divisor(spatial[line_axis], max(left // rows, 1))
        return _Tile(rows, lines, lanes)

    def _whole_line(
        self, schedule: s_tir.Schedule, block: SBlockRV, spatial: list[int]
    ) -> _Tile | None:
        """Hold whole lines in the first cache where no divisor fills a vector; LLVM vectorises."""
        shared = _row_axis(schedule, block)
        if spatial[-1] > _LONGEST_LINE or shared is None:
            return None
        return _Tile(_largest_divisor(spatial[shared], 4), 1, spatial[-1], vectors=False)


def _cost(lanes: int, per_vector: int) -> tuple[float, int]:
    """Vectors needed for each element; among equals two vectors are best, they share a weight."""
    vectors = -(-lanes // per_vector)
    return (round(vectors / lanes, 6), abs(vectors - 2))


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


def _largest_divisor(number: int, most: int) -> int:
    return max(each for each in range(1, min(number, most) + 1) if number % each == 0)


def _split_stages(schedule: s_tir.Schedule) -> tuple[SBlockRV | None, SBlockRV | None]:
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
    same = _extents(schedule, epilogue) == _extents(schedule, reduction)[: kinds.count("S")]
    if not same or not _writes_in_order(schedule, epilogue):
        return None, None
    return (reduction, epilogue) if _reads_in_order(schedule, epilogue, reduction) else (None, None)


def _extents(schedule: s_tir.Schedule, block: SBlockRV) -> list[int]:
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


def _row_axis(schedule: s_tir.Schedule, block: SBlockRV) -> int | None:
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


def _last_axis_strides(schedule: s_tir.Schedule, block: SBlockRV) -> list[int]:
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


def _reads_pixels_in_order(schedule: s_tir.Schedule, block: SBlockRV) -> bool:
    """Tell whether the last two axes are the last two of each read: a pointwise convolution."""
    variables = _spatial_variables(schedule, block)
    if len(variables) < 3:
        return False
    pixels = variables[-2:]
    shape = _extents(schedule, block)[len(variables) - 2 : len(variables)]
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


def _flatten_pixels(schedule: s_tir.Schedule, reduction: SBlockRV, epilogue: SBlockRV) -> None:
    """Make one axis of the last two spatial ones, in both blocks and the buffer between them."""
    kinds = axes(schedule, reduction)
    last = kinds.count("S") - 1
    width = _extents(schedule, reduction)[last]

    def flatten(*indices: tvm.ir.Expr) -> list[tvm.ir.Expr]:
        pixel = indices[last - 1] * width + indices[last]
        return [*indices[: last - 1], pixel, *indices[last + 1 :]]

    spatial = tirx.IndexMap.from_func(flatten, ndim=last + 1)
    schedule.transform_layout(reduction, ("write", 0), spatial)
    schedule.transform_block_layout(reduction, tirx.IndexMap.from_func(flatten, ndim=len(kinds)))
    schedule.transform_block_layout(epilogue, spatial)


def _deinterleave(schedule: s_tir.Schedule, block: SBlockRV, stride: int) -> None:
    """Lay the input of a strided operator out so that what one output line reads lies together."""
    index = _last_axis_strides(schedule, block).index(stride)
    buffer = schedule.get(block).reads[index].source
    producers = [
        each
        for each in schedule.get_producers(block)
        if schedule.get(each).writes[0].source.same_as(buffer)
    ]
    copy = producers[0] if producers else schedule.cache_read(block, index, "global")

    def split(*indices: tvm.ir.Expr) -> list[tvm.ir.Expr]:
        return [*indices[:-1], indices[-1] % stride, indices[-1] // stride]

    layout = tirx.IndexMap.from_func(split, ndim=len(buffer.shape))
    # Where the width is odd some places stay empty; nothing reads them.
    schedule.transform_layout(copy, ("write", 0), layout, assume_injective_transform=True)


def _apply_tile(
    schedule: s_tir.Schedule, reduction: SBlockRV, epilogue: SBlockRV, tile: _Tile
) -> None:
    total = work(schedule, reduction)
    row_axis = _row_axis(schedule, reduction)
    loops = list(schedule.get_loops(reduction))
    count = axes(schedule, reduction).count("S")
    spatial, reductions = loops[:count], loops[count:]
    inner: list[LoopRV] = []
    for axis, size in ((row_axis, tile.rows), (count - 2, tile.lines), (count - 1, tile.lanes)):
        if axis is None or (size == 1 and axis != count - 1):
            continue
        spatial[axis], part = schedule.split(spatial[axis], [None, size])
        inner.append(part)
    schedule.reorder(*spatial, *reductions, *inner)
    tiles = schedule.fuse(*spatial) if len(spatial) > 1 else spatial[0]
    schedule.reverse_compute_at(epilogue, tiles)
    schedule.set_scope(reduction, 0, "local")
    outside = len(schedule.get_loops(reduction)) - len(reductions) - len(inner)
    if total >= PARALLEL_WORK and extent(schedule, tiles) > 1:
        schedule.parallel(tiles)
    # Before the initialisation is split off: a block without one cannot be vectorised any more.
    _unroll(schedule, schedule.get_loops(reduction)[-len(inner) :], tile)
    _unroll(schedule, schedule.get_loops(epilogue)[outside:], tile)
    schedule.decompose_reduction(reduction, schedule.get_loops(reduction)[outside])


def _unroll(schedule: s_tir.Schedule, loops: list[LoopRV], tile: _Tile) -> None:
    for loop in loops[:-1]:
        schedule.unroll(loop)
    if tile.vectors and extent(schedule, loops[-1]) == tile.lanes:
        schedule.vectorize(loops[-1])
