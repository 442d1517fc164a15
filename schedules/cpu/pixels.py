"""Convolutions and large batches: one weight at a time, vectorised along pixels (or samples).

    parallel over slices of L output channels:
        decode a tile of entries of each lane: value and displacement (once a block of images)
        for each lane, for each tile of pixels:
            keep the tile's sums in registers; for each entry: sums += value * input[displacement +
            pixel]

Weights are decoded into a tile of ``TILE_ENTRIES`` entries that stays in the first cache level,
never to memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.schedules.cpu.geometry import ConvGeometry
from dcc.schedules.cpu.rows import guard, worth_parallel
from dcc.schedules.cpu.weight_reader import Expr, WeightReader, allocate, bind

TILE_ENTRIES = 128
REGISTER_TILE = 4
SUMS_BYTES = 256 * 1024

Store = Callable[[Expr, Expr, Expr, Expr, Expr], None]


@dataclass
class PixelKernel:
    """Emits the loops over slices.

    ``source`` holds the phase planes, flat, in the accumulator's type.

    ``store(image, channel, out_row, out_column, total)`` finishes and writes one output.
    """

    reader: WeightReader
    geometry: ConvGeometry
    vector: int
    source: tir.Buffer
    store: Store

    def emit(self) -> None:
        """Emit the kernel's main loops."""
        packed, geometry = self.reader.packed, self.geometry
        per_image = packed.lanes * geometry.pixels * 4
        block = max(1, min(geometry.batch, SUMS_BYTES // max(per_image, 1)))
        work = packed.steps * packed.lanes * geometry.pixels * geometry.batch
        loop = T.parallel if worth_parallel(work) else T.serial
        with loop(0, packed.slices) as index:
            IRBuilder.name("slice", index)
            sums = allocate(
                "sums", (block, packed.lanes, geometry.pixels), self.reader.accumulator, "global"
            )
            blocks, rest = divmod(geometry.batch, block)
            with T.serial(0, blocks) as number:
                self._block(index, number * block, block, sums)
            if rest:
                first = tir.const(blocks * block, "int32")
                self._block(index, first, rest, sums)

    def _block(self, index: Expr, first: Expr, images: int, sums: tir.Buffer) -> None:
        packed, accumulator = self.reader.packed, self.reader.accumulator
        values = allocate("values_tile", (packed.lanes, TILE_ENTRIES), accumulator)
        displacements = allocate("displacements", (packed.lanes, TILE_ENTRIES), "int32")
        column = allocate("column", (packed.lanes,), "int32")
        with T.grid(images, packed.lanes, self.geometry.pixels) as (image, lane, pixel):
            T.buffer_store(sums, tir.const(0, accumulator), [image, lane, pixel])
        with T.serial(0, packed.lanes) as lane:
            T.buffer_store(column, tir.const(-1, "int32"), [lane])
        with self.reader.stream(index):
            steps = bind("steps", self.reader.steps(index))
            with T.serial(0, tir.floordiv(steps + TILE_ENTRIES - 1, TILE_ENTRIES)) as tile:
                begin = bind("begin", tile * TILE_ENTRIES)
                count = bind("count", tir.min(steps - begin, TILE_ENTRIES))
                self._decode(index, begin, count, values, displacements, column)
                with (
                    T.serial(0, images) as image,
                    T.serial(0, packed.lanes) as lane,
                    guard(self.reader.row(index, lane), packed),
                ):
                    base = bind("base", (first + image) * self.geometry.image)
                    self._accumulate(image, lane, base, count, values, displacements, sums)
        with T.serial(0, images) as image, T.serial(0, packed.lanes) as lane:
            channel = self.reader.row(index, lane)
            with (
                guard(channel, packed),
                T.serial(0, self.geometry.out_height) as row,
                T.serial(0, self.geometry.out_width) as place,
            ):
                total = sums[image, lane, row * self.geometry.phase_width + place]
                self.store(first + image, channel, row, place, total)

    def _decode(
        self,
        index: Expr,
        begin: Expr,
        count: Expr,
        values: tir.Buffer,
        displacements: tir.Buffer,
        column: tir.Buffer,
    ) -> None:
        packed = self.reader.packed
        with (
            T.serial(0, count) as step,
            self.reader.each_lane(index, begin + step) as (lane, gap, value),
        ):
            if self.reader.every_column:
                place: Expr = begin + step
            else:
                T.buffer_store(column, column[lane] + gap + 1, [lane])
                place = bind("place", tir.min(column[lane], packed.columns - 1))
            T.buffer_store(values, value, [lane, step])
            displacement = self._displacement(place, self._channel(index, lane))
            T.buffer_store(displacements, displacement, [lane, step])

    def _channel(self, index: Expr, lane: Expr) -> Expr:
        """Output channel of a lane, where its group decides which channels it reads."""
        return self.reader.row(index, lane) if self.geometry.groups > 1 else index

    def _displacement(self, place: Expr, channel: Expr) -> Expr:
        """Where the input of output pixel 0 stands for column ``place`` of an output channel."""
        geometry = self.geometry
        height, width = geometry.kernel
        source = tir.floordiv(place, height * width)
        row = tir.floormod(tir.floordiv(place, width), height) * geometry.dilations[0]
        across = tir.floormod(place, width) * geometry.dilations[1]
        stride_h, stride_w = geometry.strides
        phase = tir.floormod(row, stride_h) * stride_w + tir.floormod(across, stride_w)
        offset = tir.floordiv(row, stride_h) * geometry.phase_width + tir.floordiv(across, stride_w)
        if geometry.groups > 1:
            group = tir.floordiv(channel, geometry.outputs // geometry.groups)
            # Rows that pad the last slice would point past the input.
            group = tir.min(group, geometry.groups - 1)
            source = source + group * (geometry.channels // geometry.groups)
        return (source * geometry.phases + phase) * geometry.plane + offset

    def _accumulate(
        self,
        image: Expr,
        lane: Expr,
        base: Expr,
        count: Expr,
        values: tir.Buffer,
        displacements: tir.Buffer,
        sums: tir.Buffer,
    ) -> None:
        """Add a tile of entries to every pixel of one lane."""
        width = REGISTER_TILE * self.vector
        whole, rest = divmod(self.geometry.pixels, width)

        def segment(start: Expr, widths: list[int]) -> None:
            total = sum(widths)
            registers = allocate("registers", (total,), self.reader.accumulator)
            places = [sum(widths[:at]) for at in range(len(widths))]
            for place, lanes in zip(places, widths, strict=True):
                _copy(registers, place, sums, [image, lane, start + place], lanes)
            with T.serial(0, count) as step:
                value = bind("weight", values[lane, step])
                at = bind("at", base + displacements[lane, step] + start)
                for place, lanes in zip(places, widths, strict=True):
                    many = tir.Broadcast(value, lanes) if lanes > 1 else value
                    term = many * self.source[_span(at + place, lanes)]
                    T.buffer_store(
                        registers, registers[_span(place, lanes)] + term, [_span(place, lanes)]
                    )
            for place, lanes in zip(places, widths, strict=True):
                spans = [image, lane, _span(start + place, lanes)]
                T.buffer_store(sums, registers[_span(place, lanes)], spans)

        if whole:
            with T.serial(0, whole) as tile:
                segment(tile * width, [self.vector] * REGISTER_TILE)
        if rest:
            segment(tir.const(whole * width, "int32"), _vector_widths(rest, self.vector))


def _span(start: Expr | int, lanes: int) -> Expr | int:
    return tir.Ramp(start, 1, lanes) if lanes > 1 else start


def _copy(target: tir.Buffer, place: int, source: tir.Buffer, at: list[Expr], lanes: int) -> None:
    T.buffer_store(target, source[(*at[:-1], _span(at[-1], lanes))], [_span(place, lanes)])


def _vector_widths(count: int, widest: int) -> list[int]:
    """Split ``count`` pixels into vectors of at most ``widest``, the rest by powers of two."""
    widths = [widest] * (count // widest)
    rest = count % widest
    return widths + [1 << bit for bit in reversed(range(widest.bit_length())) if rest >> bit & 1]
