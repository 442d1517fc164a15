"""Convolutions, and products with many samples: threads are pixels, a block is an output channel.

Every thread of a block reads the same stream of weights, entry by entry, and multiplies each with
the inputs of some pixels of its own, which neighbouring threads load side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cuda.blocks import assign, each, launch, variable
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, argument, bind

Read = Callable[[Expr], list[Expr]]
MOST_THREADS, MOST_PIXELS = 128, 4
COPY_THREADS = 256


def conv(
    packed: PackedWeight,
    geometry: ConvGeometry,
    dtype: str,
    epilogue: Epilogue,
    accumulator: str,
    *,
    spatial: int = 2,
    threads: int | None = None,
    pixels: int | None = None,
) -> tir.PrimFunc:
    """Kernel of a convolution.

    Parameters of the kernel: x (N, C[, H], W), the packed arrays (of one lane), scale and bias,
    y (N, O[, H], W); ``spatial`` is the number of spatial axes of x and y. A block has at most
    ``threads`` threads of ``pixels`` pixels each.
    """
    g, reader = geometry, WeightReader(packed, accumulator)
    sizes = (g.channels, g.height, g.width), (g.outputs, g.out_height, g.out_width)
    x_shape, y_shape = ((g.batch, *(s if spatial == 2 else (s[0], s[2]))) for s in sizes)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("conv_pixels")
        x = argument("x", x_shape, dtype)
        reader.declare()
        epilogue.declare()
        y = argument("y", y_shape, dtype)
        source = IRBuilder.name("source", T.decl_buffer((prod(x_shape),), dtype, data=x.data))
        results = IRBuilder.name("results", T.decl_buffer((prod(y_shape),), dtype, data=y.data))
        count = g.out_height * g.out_width
        window = _Windows(g, source, accumulator)
        tiles = _Tiles.of(count, threads, pixels)
        with launch(g.batch * tiles.tiles * packed.slices, tiles.threads) as (block, thread):
            row = bind("channel", tir.floormod(block, packed.slices))
            rest = tir.floordiv(block, packed.slices)
            image = bind("image", tir.floordiv(rest, tiles.tiles))
            places = tiles.pixels(tir.floormod(rest, tiles.tiles), thread)
            window.open(image, row, places)
            sums = _sum(reader, row, tiles, window.read)
            for number, pixel in enumerate(places):
                with T.If(pixel < count), T.Then():
                    value = epilogue.apply(sums[number], row, dtype)
                    assign(results, value, (image * g.outputs + row) * count + pixel)
    return builder.get()


def many_samples(
    packed: PackedWeight,
    samples: int,
    dtype: str,
    epilogue: Epilogue,
    accumulator: str,
    *,
    threads: int | None = None,
    pixels: int | None = None,
) -> tir.PrimFunc:
    """Kernel ``y[m, o] = epilogue(sum_k x[m, k] * weight[o, k])`` for many samples.

    Parameters of the kernel: x (samples, columns), the packed arrays (of one lane), scale and bias,
    y (samples, rows). Samples are pixels of the turned-around x; see :func:`conv`.
    """
    reader, columns = WeightReader(packed, accumulator), packed.columns
    with IRBuilder() as builder, T.prim_func():
        T.func_name("matmul_pixels")
        x = argument("x", (samples, columns), dtype)
        reader.declare()
        epilogue.declare()
        y = argument("y", (samples, packed.rows), dtype)
        turned = allocate("turned", (columns * samples,), accumulator, "global")
        size = columns * samples
        with (
            launch(-(-size // COPY_THREADS), COPY_THREADS) as (block, thread),
            each(
                size, block * COPY_THREADS + thread, -(-size // COPY_THREADS) * COPY_THREADS
            ) as at,
        ):
            value = x[tir.floormod(at, samples), tir.floordiv(at, samples)]
            assign(turned, tir.Cast(accumulator, value), at)
        tiles = _Tiles.of(samples, threads, pixels)
        with launch(tiles.tiles * packed.slices, tiles.threads) as (block, thread):
            row = bind("channel", tir.floormod(block, packed.slices))
            places = tiles.pixels(tir.floordiv(block, packed.slices), thread)
            inside = [bind("sample", tir.min(place, samples - 1)) for place in places]

            def read(column: Expr) -> list[Expr]:
                # Fillers run past the last column, with zeros.
                first = bind("first", tir.min(column, columns - 1) * samples)
                return [turned[first + sample] for sample in inside]

            sums = _sum(reader, row, tiles, read)
            for number, place in enumerate(places):
                with T.If(place < samples), T.Then():
                    value = epilogue.apply(sums[number], row, dtype)
                    T.buffer_store(y, value, [place, row])
    return builder.get()


@dataclass(frozen=True)
class _Tiles:
    """How the pixels are dealt out: ``tiles`` blocks of ``threads`` threads of ``each`` pixels."""

    tiles: int
    threads: int
    each: int

    @staticmethod
    def of(count: int, most_threads: int | None, most_pixels: int | None) -> _Tiles:
        threads = min(-(-count // 32) * 32, most_threads or MOST_THREADS)
        held = min(-(-count // threads), most_pixels or MOST_PIXELS)
        return _Tiles(-(-count // (threads * held)), threads, held)

    def pixels(self, tile: Expr, thread: Expr) -> list[Expr]:
        first = tile * (self.threads * self.each) + thread
        return [bind("pixel", first + number * self.threads) for number in range(self.each)]


def _sum(reader: WeightReader, row: Expr, tiles: _Tiles, read: Read) -> tir.Buffer:
    """Sum the products of the weights of ``row`` with what ``read(column)`` gives of each pixel."""
    zero = tir.const(0, reader.accumulator)
    sums = allocate("sums", (tiles.each,), reader.accumulator)
    for number in range(tiles.each):
        assign(sums, zero, number)
    column = variable("column", "int32", -1)
    with (
        reader.stream(row),
        T.serial(0, reader.steps(row)) as step,
        reader.each_lane(row, step) as (_lane, gap, value),
    ):
        if reader.every_column:
            place = step
        else:
            assign(column, column[0] + gap + 1)
            place = column[0]
        for number, each_input in enumerate(read(place)):
            assign(sums, sums[number] + value * each_input, number)
    return sums


class _Windows:
    """The inputs of some output pixels: of each weight's column, the element that it multiplies."""

    def __init__(self, geometry: ConvGeometry, source: tir.Buffer, accumulator: str) -> None:
        self.g = geometry
        self.source = source
        self.accumulator = accumulator

    def open(self, image: Expr, row: Expr, pixels: list[Expr]) -> None:
        """Find where the windows of ``pixels`` begin."""
        g = self.g
        group = tir.floordiv(row, max(g.outputs // g.groups, 1))
        self.channel = bind("first_channel", image * g.channels + group * (g.channels // g.groups))
        self.tops, self.lefts = [], []
        for pixel in pixels:
            down, across = tir.floordiv(pixel, g.out_width), tir.floormod(pixel, g.out_width)
            self.tops.append(bind("top", down * g.strides[0] - g.pads[0]))
            self.lefts.append(bind("left", across * g.strides[1] - g.pads[1]))

    def read(self, column: Expr) -> list[Expr]:
        """Return the inputs of all pixels at ``column``; 0 outside of the image."""
        g = self.g
        area = g.kernel[0] * g.kernel[1]
        # Fillers run past the last column, with zeros.
        place = bind("place", tir.min(column, g.columns - 1))
        channel, rest = tir.floordiv(place, area), tir.floormod(place, area)
        down = bind("down", tir.floordiv(rest, g.kernel[1]) * g.dilations[0])
        across = bind("across", tir.floormod(rest, g.kernel[1]) * g.dilations[1])
        plane = bind("plane", (self.channel + channel) * (g.height * g.width))
        zero = tir.const(0, self.accumulator)
        found = []
        for top, left in zip(self.tops, self.lefts, strict=True):
            y, x = top + down, left + across
            inside = tir.all(y >= 0, y < g.height, x >= 0, x < g.width)
            value = tir.Cast(self.accumulator, self.source[plane + y * g.width + x])
            found.append(bind("input", tir.if_then_else(inside, value, zero)))
        return found
