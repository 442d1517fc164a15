"""Tiles of a convolution's pixels: the input under each, and the transfers that move them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dcc.codegen.vta.instructions import Transfer
from dcc.schedules.vta.layers import ConvLayer
from dcc.schedules.vta.microop_lists import TileShape
from dcc.schedules.vta.tiling import Tiling
from dcc.targets.vta.isa import Memory


@dataclass(frozen=True)
class Window:
    """A tile of output pixels: first row and column, its shape, and the input under it."""

    sample: int
    row: int
    column: int
    shape: TileShape
    rows: tuple[int, int, int, int]  # first input row, rows, zero rows above and below
    columns: tuple[int, int, int, int]

    @property
    def empty(self) -> bool:
        """Whether all of it is padding."""
        return self.rows[1] <= 0 or self.columns[1] <= 0


def windows(layer: ConvLayer, tiling: Tiling) -> Iterator[Window]:
    """Cut the result into tiles of pixels."""
    for sample in range(layer.batch):
        for row in range(0, layer.out_height, tiling.rows):
            for column in range(0, layer.out_width, tiling.columns):
                rows = min(tiling.rows, layer.out_height - row)
                columns = min(tiling.columns, layer.out_width - column)
                vertical = _clipped(row, rows, 0, layer, layer.height)
                horizontal = _clipped(column, columns, 1, layer, layer.width)
                shape = TileShape(
                    rows,
                    columns,
                    (rows - 1) * layer.strides[0] + layer.span[0],
                    (columns - 1) * layer.strides[1] + layer.span[1],
                    layer.strides,
                    layer.dilations,
                )
                yield Window(sample, row, column, shape, vertical, horizontal)


def input_loads(
    layer: ConvLayer, buffer: str, base: int, blocks: tuple[int, int], window: Window
) -> list[Transfer]:
    """Load the input under a window, ``blocks`` (first, how many) of its channels, to ``base``."""
    first, count = blocks
    row, rows, above, below = window.rows
    column, columns, left, right = window.columns
    image = layer.height * layer.width
    start = (window.sample * layer.input_blocks + first) * image + row * layer.width + column
    stride = layer.width if rows > 1 else columns
    pads = (above, below, left, right)
    if not any(pads) and rows * columns == image:
        return [Transfer(Memory.INP, base, buffer, start, 1, count * image, count * image)]
    if not any(pads) and columns == layer.width and image < 1 << 16:
        return [Transfer(Memory.INP, base, buffer, start, count, rows * columns, image)]
    return [
        Transfer(
            Memory.INP,
            base + block * window.shape.input_pixels,
            buffer,
            start + block * image,
            rows,
            columns,
            stride,
            pads,
        )
        for block in range(count)
    ]


def result_transfers(
    layer: ConvLayer,
    memory: Memory,
    buffer: str,
    base: int,
    blocks: tuple[int, int],
    window: Window,
) -> list[Transfer]:
    """Move what a window covers of the result, or of a tensor like it, from or to ``base``."""
    return [
        Transfer(memory, at, buffer, offset, rows, columns, stride)
        for at, offset, rows, columns, stride in _rectangles(layer, base, blocks, window)
    ]


def _rectangles(
    layer: ConvLayer, base: int, blocks: tuple[int, int], window: Window
) -> list[tuple[int, int, int, int, int]]:
    """Give the rectangles of a result: (SRAM, DRAM, rows, columns, stride)."""
    (group, count), shape = blocks, window.shape
    image = layer.out_height * layer.out_width
    start = (window.sample * layer.output_blocks + group) * image
    start += window.row * layer.out_width + window.column
    if shape.pixels == image:
        return [(base, start, 1, count * image, count * image)]
    rows, columns = shape.rows, shape.columns
    if columns == layer.out_width:
        rows, columns = 1, rows * columns
    stride = layer.out_width if rows > 1 else columns
    if rows == 1 and count > 1:
        return (
            [(base, start, count, columns, image)]
            if image < 1 << 16
            else [
                (base + block * columns, start + block * image, 1, columns, columns)
                for block in range(count)
            ]
        )
    return [
        (base + block * shape.pixels, start + block * image, rows, columns, stride)
        for block in range(count)
    ]


def _clipped(
    first: int, count: int, axis: int, layer: ConvLayer, size: int
) -> tuple[int, int, int, int]:
    """Input under ``count`` outputs from ``first`` on: start, size, zeros before and after."""
    begin = first * layer.strides[axis] - layer.pads[axis]
    end = begin + (count - 1) * layer.strides[axis] + layer.span[axis]
    inside = max(begin, 0), min(end, size)
    return inside[0], inside[1] - inside[0], inside[0] - begin, end - inside[1]
