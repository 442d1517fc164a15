"""Convolution with a dense weight: tiles of output channels by output pixels in registers.

    copy the input into padded phase planes      (no pointwise one; a depthwise one by channel)
    parallel over images, blocks of output rows and slices of output channels:
        for each tile of whole vectors of the block's flat pixels:
            for each input channel and kernel row (loops), kernel column (unrolled), in registers:
                sums[channel, vector] += weight[channel] * planes[displacement + pixels]
        epilogue, row by row, without the positions between the rows

The planes are those of ``geometry``: at any stride, an output's neighbours are neighbours in
memory. A slice of the packed weight has the output channels of a tile, side by side for each
column. Where the pixels of a block are no multiple of a vector, its last vector overlaps the one
before it.
"""

from __future__ import annotations

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.phase_planes import fill_planes, flattened, phase_planes
from dcc.schedules.cpu.register_tile import (
    RegisterTile,
    even_parts,
    lanes_of,
    span,
    vector_registers,
)
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, argument, bind

MOST_VECTORS = 8
"""Most vectors of pixels of a tile."""
PARALLEL_MULTIPLICATIONS = 250_000
"""From here on threads pay: one core multiplies so often in five microseconds."""
BLOCK_PIXELS = 480
"""Flat pixels of a block of rows, unless one row has more: its sums stay in the first cache."""
UNROLLED_COLUMNS = 16
"""Widest kernel row that is unrolled."""


def tile_channels(geometry: ConvGeometry, vector: int) -> int:
    """Output channels of a tile: those that the registers hold; a part of a group."""
    of_group = geometry.outputs // geometry.groups
    most = 8 if vector_registers(vector) >= 32 else 4
    if geometry.groups == 1:
        return min(most, of_group)
    return max(part for part in range(1, most + 1) if of_group % part == 0)


def fits_groups(packed: PackedWeight, geometry: ConvGeometry) -> bool:
    """Whether no slice of the weight has channels of two groups."""
    return geometry.groups == 1 or geometry.outputs // geometry.groups % packed.lanes == 0


def dense_conv(
    packed: PackedWeight,
    geometry: ConvGeometry,
    dtype: str,
    epilogue: Epilogue,
    accumulator: str,
    *,
    vector: int,
    spatial: int = 2,
) -> tir.PrimFunc:
    """Kernel of a convolution over a dense weight.

    Parameters of the kernel: x (N, C[, H], W), the packed values, scale and bias, y (N, O[, H], W);
    ``spatial`` is the number of spatial axes of x and y, ``vector`` that of float32 elements in a
    vector register. Precondition: ``fits_groups``.
    """
    g = geometry
    reader = WeightReader(packed, accumulator)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("dense_conv")
        rows_in, rows_out = ((g.height,), (g.out_height,)) if spatial == 2 else ((), ())
        x = argument("x", (g.batch, g.channels, *rows_in, g.width), dtype)
        reader.declare()
        epilogue.declare()
        y = argument("y", (g.batch, g.outputs, *rows_out, g.out_width), dtype)
        data = flattened(x, g, dtype)
        size = g.batch * g.outputs * g.out_height * g.out_width
        flat = IRBuilder.name("result", T.decl_buffer((size,), dtype, data=y.data))
        kernel = _DenseConv(packed, g, epilogue, accumulator, vector)
        values = reader.buffers["values"]
        if packed.slices == g.groups == g.channels and not g.in_place:
            kernel.emit_by_channel(data, values, flat)
        else:
            kernel.emit(phase_planes(data, g, dtype, accumulator), values, flat)
    return builder.get()


class _DenseConv:
    def __init__(
        self,
        packed: PackedWeight,
        geometry: ConvGeometry,
        epilogue: Epilogue,
        accumulator: str,
        vector: int,
    ) -> None:
        self.packed, self.geometry = packed, geometry
        self.epilogue, self.accumulator = epilogue, accumulator
        most = max(BLOCK_PIXELS // geometry.phase_width, 1)
        self.rows = even_parts(geometry.out_height, most)[0]
        self.pixels = (self.rows - 1) * geometry.phase_width + geometry.out_width
        self.lanes = min(lanes_of(accumulator, vector), self.pixels)
        registers = vector_registers(vector) - 1
        self.tile_vectors = max(min(registers // (packed.lanes + 1), MOST_VECTORS), 1)
        self.blocks = -(-geometry.out_height // self.rows)
        outputs = geometry.batch * geometry.outputs * geometry.out_height * geometry.out_width
        self.parallel = outputs * geometry.columns >= PARALLEL_MULTIPLICATIONS

    def emit(self, planes: tir.Buffer, values: tir.Buffer, result: tir.Buffer) -> None:
        """Emit the kernel's loops."""
        g, slices = self.geometry, self.packed.slices
        blocks = self.blocks
        jobs = g.batch * blocks * slices
        loop = T.parallel if self.parallel and jobs > 1 else T.serial
        with loop(0, jobs) as job:
            index = bind("slice", tir.floormod(job, slices))
            image = bind("image", tir.floordiv(job, slices * blocks))
            block = tir.floormod(tir.floordiv(job, slices), blocks)
            group = tir.floordiv(index * self.packed.lanes, g.outputs // g.groups)
            first_plane = group * (g.channels // g.groups) * g.phases * g.plane
            self._block(planes, values, result, index, image, image * g.image + first_plane, block)

    def emit_by_channel(self, data: tir.Buffer, values: tir.Buffer, result: tir.Buffer) -> None:
        """Emit the loops of a depthwise layer: the planes of a channel stay in the cache."""
        g = self.geometry
        loop = T.parallel if self.parallel and g.batch * g.channels > 1 else T.serial
        with loop(0, g.batch * g.channels) as job:
            planes = allocate("planes", (g.phases * g.plane,), self.accumulator, "global")
            zero = tir.const(0, "int32")
            fill_planes(data, planes, g, job, zero)
            index = bind("slice", tir.floormod(job, g.channels))
            image = bind("image", tir.floordiv(job, g.channels))
            with T.serial(0, self.blocks) as block:
                self._block(planes, values, result, index, image, zero, block)

    def _block(
        self,
        planes: tir.Buffer,
        values: tir.Buffer,
        result: tir.Buffer,
        index: Expr,
        image: Expr,
        first_plane: Expr,
        block: Expr,
    ) -> None:
        """Compute a slice of channels over a block of rows, from ``first_plane`` on."""
        g = self.geometry
        # The last block overlaps the one before it where the blocks are not equal.
        row = bind("row", tir.min(block * self.rows, g.out_height - self.rows))
        start = bind("start", first_plane + row * g.phase_width)
        sums = allocate("sums", (self.packed.lanes, self.pixels), self.accumulator)
        self._sum(planes, values, sums, index, start)
        self._store(sums, result, index, image, row)

    def _sum(
        self,
        planes: tir.Buffer,
        values: tir.Buffer,
        sums: tir.Buffer,
        index: Expr,
        start: Expr,
    ) -> None:
        """Sum over the tiles of a block, whose first pixel reads the planes from ``start`` on."""
        width = self.tile_vectors * self.lanes
        whole, rest = divmod(self.pixels, width)
        if whole:
            with T.serial(0, whole) as tile:
                pixel = bind("pixel", tile * width)
                places = [v * self.lanes for v in range(self.tile_vectors)]
                self._tile(planes, values, sums, index, start, pixel, places)
        if rest:
            count = -(-rest // self.lanes)
            places = [whole * width + v * self.lanes for v in range(count)]
            places[-1] = min(places[-1], self.pixels - self.lanes)
            zero = tir.const(0, "int32")
            self._tile(planes, values, sums, index, start, zero, places)

    def _tile(
        self,
        planes: tir.Buffer,
        values: tir.Buffer,
        sums: tir.Buffer,
        index: Expr,
        start: Expr,
        pixel: Expr,
        places: list[int],
    ) -> None:
        """Sum the vectors of pixels at ``pixel + places`` of all channels of a slice."""
        g, channels = self.geometry, self.packed.lanes
        height, width = g.kernel
        tile = RegisterTile(channels, len(places), self.lanes, self.accumulator)
        tile.clear()
        unroll = width <= UNROLLED_COLUMNS
        with T.serial(0, g.channels // g.groups) as channel, T.serial(0, height) as down:
            column = bind("column", (channel * height + down) * width)
            base = bind("base", start + pixel + self._plane_row(channel, down))
            with T.serial(0, 1 if unroll else width) as dynamic:
                for across in range(width) if unroll else [dynamic]:
                    at = base + self._across(across)
                    vectors = [planes[span(at + place, self.lanes)] for place in places]
                    numbers = [
                        tir.Cast(self.accumulator, values[index, column + across, lane])
                        for lane in range(channels)
                    ]
                    tile.multiply(numbers, vectors)
        for lane, vector in tile.places():
            place = span(pixel + places[vector], self.lanes)
            T.buffer_store(sums, tile.get(lane, vector), [lane, place])

    def _plane_row(self, channel: Expr, down: Expr) -> Expr:
        """Where the input of a kernel row stands, from the group's first plane on."""
        g = self.geometry
        offset = down * g.dilations[0]
        phase = tir.floormod(offset, g.strides[0]) * g.strides[1]
        return (channel * g.phases + phase) * g.plane + tir.floordiv(
            offset, g.strides[0]
        ) * g.phase_width

    def _across(self, across: Expr | int) -> Expr | int:
        """How far the input of a kernel column stands from that of the first."""
        g = self.geometry
        offset = across * g.dilations[1]
        if isinstance(offset, int):
            return offset % g.strides[1] * g.plane + offset // g.strides[1]
        return tir.floormod(offset, g.strides[1]) * g.plane + tir.floordiv(offset, g.strides[1])

    def _store(
        self, sums: tir.Buffer, result: tir.Buffer, index: Expr, image: Expr, row: Expr
    ) -> None:
        """Finish the sums and drop those between the rows."""
        g, lanes = self.geometry, self.packed.lanes
        channels = tir.min(g.outputs - index * lanes, lanes)
        # Rows without a gap between them are one long row.
        one = g.phase_width == g.out_width
        lines, places = (1, self.rows * g.out_width) if one else (self.rows, g.out_width)
        dtype = result.ty.dtype
        with T.serial(0, lanes if g.outputs % lanes == 0 else channels) as lane:
            output = bind("output", index * lanes + lane)
            first = ((image * g.outputs + output) * g.out_height + row) * g.out_width
            with T.serial(0, lines) as line, T.serial(0, places) as place:
                total = sums[lane, line * g.phase_width + place]
                value = self.epilogue.apply(total, output, dtype)
                T.buffer_store(result, value, [first + line * g.out_width + place])
