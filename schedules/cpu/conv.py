"""Convolution of a compressed weight, 1-D and 2-D, with groups, strides, pads and dilations."""

from __future__ import annotations

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.epilogue import Epilogue
from dcc.schedules.cpu.geometry import ConvGeometry
from dcc.schedules.cpu.pixels import PixelKernel
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.cpu.weight_reader import Expr, WeightReader, allocate, argument, bind


def conv(
    packed: PackedWeight,
    geometry: ConvGeometry,
    dtype: str,
    epilogue: Epilogue,
    accumulator: str,
    *,
    vector: int,
    spatial: int = 2,
) -> tir.PrimFunc:
    """Kernel of a convolution.

    Parameters of the kernel: x (N, C[, H], W), the packed arrays, scale and bias, y (N, O[, H], W);
    ``spatial`` is the number of spatial axes of x and y.
    """
    g = geometry
    reader = WeightReader(packed, accumulator)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("conv")
        x = argument(
            "x",
            (g.batch, g.channels, g.height, g.width)[: 4 if spatial == 2 else 2]
            + (() if spatial == 2 else (g.width,)),
            dtype,
        )
        reader.declare()
        epilogue.declare()
        y_shape = (g.batch, g.outputs) + ((g.out_height,) if spatial == 2 else ()) + (g.out_width,)
        y = argument("y", y_shape, dtype)

        def store(image: Expr, channel: Expr, row: Expr, place: Expr, total: Expr) -> None:
            at = [image, channel, row, place] if spatial == 2 else [image, channel, place]
            T.buffer_store(y, epilogue.apply(total, channel, dtype), at)

        source = _planes(x, g, dtype, accumulator)
        PixelKernel(reader, g, vector, source, store).emit()
    return builder.get()


def _planes(x: tir.Buffer, g: ConvGeometry, dtype: str, accumulator: str) -> tir.Buffer:
    """Return the phase planes of ``x``: x itself where it has that layout, else a padded copy."""
    size = g.batch * g.channels * g.height * g.width
    flat = IRBuilder.name("flat", T.decl_buffer((size,), dtype, data=x.data))
    if g.in_place and dtype == accumulator:
        return flat
    planes = allocate("planes", (g.batch * g.image,), accumulator, "global")
    loop = T.parallel if worth_parallel(g.batch * g.image) else T.serial
    with loop(0, g.batch * g.channels) as channel:
        for phase in range(g.phases):
            with T.serial(0, g.phase_height) as row:
                _fill_row(flat, planes, g, channel, phase, row)
    return planes


def _fill_row(
    flat: tir.Buffer, planes: tir.Buffer, g: ConvGeometry, channel: Expr, phase: int, row: Expr
) -> None:
    """Copy one row of a phase plane, zeros where it is padding."""
    down, across = divmod(phase, g.strides[1])
    source_row = bind("source_row", row * g.strides[0] + down - g.pads[0])
    begin = bind("begin", ((channel * g.phases + phase) * g.phase_height + row) * g.phase_width)
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
