"""Convolution of a compressed weight, 1-D and 2-D, with groups, strides, pads and dilations."""

from __future__ import annotations

from math import prod

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.codegen.vector_units import VectorUnit
from dcc.schedules.cpu.decoded_entries import pixel_reader
from dcc.schedules.cpu.division import divide
from dcc.schedules.cpu.panels import CopiedPanels, copied_lanes
from dcc.schedules.cpu.pixel_stores import PixelStore
from dcc.schedules.cpu.pixel_tiles import PixelTiles, PixelTiling, choose_tiles
from dcc.schedules.cpu.pixels import PixelKernel
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.weight_reader import Expr, allocate, argument, bind


def conv(
    packed: PackedWeight,
    geometry: ConvGeometry,
    dtype: str,
    epilogue: Epilogue,
    accumulator: str,
    *,
    vector: int,
    spatial: int = 2,
    unit: VectorUnit | None = None,
    tiling: PixelTiling | None = None,
) -> tir.PrimFunc:
    """Kernel of a convolution.

    Parameters of the kernel: x (N, C[, H], W), the packed arrays, scale and bias, y (N, O[, H], W);
    ``spatial`` is the number of spatial axes of x and y.
    """
    tiling = tiling or PixelTiling()
    shapes = geometry
    g = geometry.flattened()
    reader = pixel_reader(packed, accumulator, unit)
    tiles = choose_tiles(g, vector, tiling.tile_vectors)
    division = divide(packed, tiles, tiling.threads, tiling.decoded_bytes)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("pixels")
        x_shape = (shapes.batch, shapes.channels, shapes.height, shapes.width)
        y_shape = (shapes.batch, shapes.outputs, shapes.out_height, shapes.out_width)
        x = argument("x", _without_height(x_shape, spatial), dtype)
        reader.declare()
        epilogue.declare()
        y = argument("y", _without_height(y_shape, spatial), dtype)
        flat = IRBuilder.name("results", T.decl_buffer((prod(y_shape),), dtype, data=y.data))

        store = PixelStore(reader, tiles, epilogue, flat)
        source = _planes(x, g, tiles, dtype, accumulator)
        block = tiling.block(tiles, accumulator)
        panels = CopiedPanels(source, g, tiles, block)
        PixelKernel(reader, tiles, division, panels, block, store).emit()
    return builder.get()


def _without_height(shape: tuple[int, ...], spatial: int) -> tuple[int, ...]:
    return shape if spatial == 2 else (*shape[:2], shape[3])


def _planes(
    x: tir.Buffer, g: ConvGeometry, tiles: PixelTiles, dtype: str, accumulator: str
) -> tir.Buffer:
    """Return the phase planes of ``x``: x itself where it has that layout, else a padded copy."""
    size = g.batch * g.channels * g.height * g.width
    flat = IRBuilder.name("flat", T.decl_buffer((size,), dtype, data=x.data))
    lanes = copied_lanes(tiles)
    if g.in_place and dtype == accumulator and tiles.width % lanes == 0:
        return flat
    # Rows are read in whole vectors, past the last plane's end.
    planes = allocate("planes", (g.batch * g.image + lanes,), accumulator, "global")
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
