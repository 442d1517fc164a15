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
from tvm import s_tir, tirx
from tvm.s_tir import dlight
from tvm.s_tir.schedule import LoopRV, SBlockRV

from dcc.schedules.cpu.access import (
    extents,
    last_axis_strides,
    reads_pixels_in_order,
    row_axis,
    split_stages,
)
from dcc.schedules.cpu.loops import PARALLEL_WORK, parallelize
from dcc.schedules.cpu.stages import axes, extent, inline_maps, is_supported, work

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
        reduction, epilogue = split_stages(schedule)
        if reduction is None:
            return None
        if epilogue is None:
            epilogue = schedule.cache_write(reduction, 0, "global")
        if reads_pixels_in_order(schedule, reduction):
            _flatten_pixels(schedule, reduction, epilogue)
        strides = last_axis_strides(schedule, reduction)
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
        spatial = extents(schedule, block)[: axes(schedule, block).count("S")]
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
        shared = row_axis(schedule, block)
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
        shared = row_axis(schedule, block)
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


def _flatten_pixels(schedule: s_tir.Schedule, reduction: SBlockRV, epilogue: SBlockRV) -> None:
    """Make one axis of the last two spatial ones, in both blocks and the buffer between them."""
    kinds = axes(schedule, reduction)
    last = kinds.count("S") - 1
    width = extents(schedule, reduction)[last]

    def flatten(*indices: tvm.ir.Expr) -> list[tvm.ir.Expr]:
        pixel = indices[last - 1] * width + indices[last]
        return [*indices[: last - 1], pixel, *indices[last + 1 :]]

    spatial = tirx.IndexMap.from_func(flatten, ndim=last + 1)
    schedule.transform_layout(reduction, ("write", 0), spatial)
    schedule.transform_block_layout(reduction, tirx.IndexMap.from_func(flatten, ndim=len(kinds)))
    schedule.transform_block_layout(epilogue, spatial)


def _deinterleave(schedule: s_tir.Schedule, block: SBlockRV, stride: int) -> None:
    """Lay the input of a strided operator out so that what one output line reads lies together."""
    index = last_axis_strides(schedule, block).index(stride)
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
    shared = row_axis(schedule, reduction)
    loops = list(schedule.get_loops(reduction))
    count = axes(schedule, reduction).count("S")
    spatial, reductions = loops[:count], loops[count:]
    inner: list[LoopRV] = []
    for axis, size in ((shared, tile.rows), (count - 2, tile.lines), (count - 1, tile.lanes)):
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
