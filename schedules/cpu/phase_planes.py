"""The padded input of a convolution, split by stride phase: see ``geometry``."""

from __future__ import annotations

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.weight_reader import Expr, allocate, bind

PARALLEL_ELEMENTS = 30_000
"""Elements from which on the copy is spread over the threads: below, starting them takes longer."""


def flattened(x: tir.Buffer, g: ConvGeometry, dtype: str) -> tir.Buffer:
    """Return ``x`` with one axis."""
    size = g.batch * g.channels * g.height * g.width
    return IRBuilder.name("flat", T.decl_buffer((size,), dtype, data=x.data))


def phase_planes(flat: tir.Buffer, g: ConvGeometry, dtype: str, accumulator: str) -> tir.Buffer:
    """Return the phase planes of an input: itself if it has that layout, or a padded copy."""
    if g.in_place and dtype == accumulator:
        return flat
    planes = allocate("planes", (g.batch * g.image,), accumulator, "global")
    loop = T.parallel if g.batch * g.image >= PARALLEL_ELEMENTS else T.serial
    with loop(0, g.batch * g.channels) as channel:
        fill_planes(flat, planes, g, channel, channel)
    return planes


def fill_planes(
    flat: tir.Buffer, planes: tir.Buffer, g: ConvGeometry, channel: Expr, place: Expr
) -> None:
    """Copy one channel of the input into the planes of channel ``place``."""
    for phase in _used_phases(g):
        with T.serial(0, g.phase_height) as row:
            begin = ((place * g.phases + phase) * g.phase_height + row) * g.phase_width
            _fill_row(flat, planes, g, channel, phase, row, bind("begin", begin))


def _fill_row(
    flat: tir.Buffer,
    planes: tir.Buffer,
    g: ConvGeometry,
    channel: Expr,
    phase: int,
    row: Expr,
    begin: Expr,
) -> None:
    """Copy one row of a phase plane, zeros where it is padding."""
    down, across = divmod(phase, g.strides[1])
    source_row = bind("source_row", row * g.strides[0] + down - g.pads[0])
    zero = tir.const(0, planes.ty.dtype)
    # Columns of the row whose source lies inside the input.
    first = max(0, -(-(g.pads[1] - across) // g.strides[1]))
    last = min(g.phase_width, -(-(g.width + g.pads[1] - across) // g.strides[1]))
    last = max(last, first)
    first = min(first, g.phase_width)
    source = (channel * g.height + source_row) * g.width
    inside = tir.And(source_row >= 0, source_row < g.height)
    with T.If(inside):
        with T.Then():
            for start, stop in ((0, first), (last, g.phase_width)):
                if stop > start:
                    with T.serial(start, stop) as place:
                        T.buffer_store(planes, zero, [begin + place])
            if last > first:
                with T.serial(first, last) as place:
                    at = source + place * g.strides[1] + across - g.pads[1]
                    value = tir.Cast(planes.ty.dtype, flat[at])
                    T.buffer_store(planes, value, [begin + place])
        with T.Else(), T.serial(0, g.phase_width) as place:
            T.buffer_store(planes, zero, [begin + place])


def _used_phases(g: ConvGeometry) -> list[int]:
    """Phases that a kernel offset falls into; the others are never read."""
    down, across = (
        sorted({k * dilation % stride for k in range(size)})
        for size, dilation, stride in zip(g.kernel, g.dilations, g.strides, strict=True)
    )
    return [row * g.strides[1] + column for row in down for column in across]
