"""Max-pooling as a stream: the input goes through an identity block into the accumulators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dcc.codegen.vta.buffers import IDENTITY, INPUT, OUTPUT
from dcc.codegen.vta.instructions import Alu, Gemm, Transfer
from dcc.codegen.vta.stream import Stream, StreamBuilder, micro_ops
from dcc.schedules.vta.layers import PoolLayer
from dcc.schedules.vta.pipeline import End, Operand, SlotSizes, Step, Tile, run_tiles
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import AluOpcode, Memory

_LEAST = -128


@dataclass(frozen=True)
class _Axis:
    """Outputs of a tile along one axis and the input that their windows meet."""

    first: int
    count: int
    begin: int  # first input
    size: int  # inputs

    def reached(self, offset: int, stride: int, length: int) -> tuple[int, int, int]:
        """Find outputs whose input at ``offset`` exists: first, count, first one's input."""
        positions = (self.first + np.arange(self.count)) * stride + offset
        inside = np.flatnonzero((positions >= 0) & (positions < length))
        if not len(inside):
            return 0, 0, 0
        first = int(inside[0])
        return first, len(inside), int(positions[first]) - self.begin


def _axis(layer: PoolLayer, axis: int, first: int, count: int) -> _Axis:
    length = (layer.height, layer.width)[axis]
    stride, pad = layer.strides[axis], layer.pads[axis]
    begin = max(first * stride - pad, 0)
    reach = layer.dilations[axis] * (layer.kernel[axis] - 1) + 1
    end = min((first + count - 1) * stride - pad + reach, length)
    begin = min(begin, length - 1)
    return _Axis(first, count, begin, max(end - begin, 1))


@dataclass(frozen=True)
class PoolTiling:
    """Rows, columns and blocks of channels of a tile."""

    rows: int
    columns: int
    blocks: int
    threads: int = 2

    def slots(self, layer: PoolLayer) -> tuple[int, int]:
        """Elements of INP and of ACC that one virtual thread needs."""
        reach = [d * (k - 1) + 1 for d, k in zip(layer.dilations, layer.kernel, strict=True)]
        rows = min((self.rows - 1) * layer.strides[0] + reach[0], layer.height)
        columns = min((self.columns - 1) * layer.strides[1] + reach[1], layer.width)
        inputs = rows * columns * self.blocks
        return inputs, inputs + self.rows * self.columns * self.blocks

    def fits(self, layer: PoolLayer, device: Accelerator) -> bool:
        """Whether the slots fit into the scratchpads."""
        inputs, accumulators = self.slots(layer)
        return (
            layer.width <= device.limits.stride
            and inputs * self.threads <= device.depths[Memory.INP]
            and accumulators * self.threads <= device.depths[Memory.ACC]
        )


def pool_tiling(layer: PoolLayer, device: Accelerator) -> PoolTiling | None:
    """Take the largest tile that fits, whole rows first; None where none does."""
    found = None
    for tiling in _tilings(layer):
        if tiling.fits(layer, device):
            size = (tiling.rows * tiling.columns * tiling.blocks, tiling.columns, tiling.threads)
            if found is None or size > found[0]:
                found = size, tiling
    return None if found is None else found[1]


def _tilings(layer: PoolLayer) -> Iterator[PoolTiling]:
    for threads in (2, 1):
        for blocks in {1, 2, 4, layer.blocks} if layer.blocks > 1 else {1}:
            for rows in range(1, min(layer.out_height, 64) + 1):
                for parts in (1, 2, 3, 4, 8, 16, layer.out_width):
                    columns = -(-layer.out_width // min(parts, layer.out_width))
                    yield PoolTiling(rows, columns, min(blocks, layer.blocks), threads)


def pool_stream(layer: PoolLayer, tiling: PoolTiling, device: Accelerator) -> Stream:
    """Emit the stream of a layer. Buffer ``identity`` has one block."""
    schedule = _Pool(layer, tiling, StreamBuilder(device))
    inputs, accumulators = tiling.slots(layer)
    first = [Transfer(Memory.WGT, 0, IDENTITY, 0, 1, 1, 1)]
    sizes = SlotSizes(inputs, 0, accumulators, tiling.threads)
    return run_tiles(schedule.builder, list(schedule.tiles()), sizes, first)


@dataclass(frozen=True)
class _Pool:
    layer: PoolLayer
    tiling: PoolTiling
    builder: StreamBuilder

    def tiles(self) -> Iterator[Tile]:
        layer, tiling = self.layer, self.tiling
        for plane in range(0, layer.batch * layer.blocks, tiling.blocks):
            blocks = min(tiling.blocks, layer.batch * layer.blocks - plane)
            for row in range(0, layer.out_height, tiling.rows):
                for column in range(0, layer.out_width, tiling.columns):
                    rows = min(tiling.rows, layer.out_height - row)
                    columns = min(tiling.columns, layer.out_width - column)
                    yield self._tile(
                        plane, blocks, _axis(layer, 0, row, rows), _axis(layer, 1, column, columns)
                    )

    def _tile(self, plane: int, blocks: int, y: _Axis, x: _Axis) -> Tile:
        # Results first, the input behind them.
        results, inputs = blocks * y.count * x.count, blocks * y.size * x.size

        def begin(base: int) -> None:
            self.builder.reset(base, results + inputs)
            self.builder.immediate(AluOpcode.ADD, _LEAST, base, results)

        def compute(input_base: int, _weights: int, base: int) -> None:
            words = micro_ops(base + results, input_base, 0)
            self.builder.emit(Gemm((0, 1), (1, inputs), (0, 1), (0, 1)), words)
            self._reduce(base, base + results, blocks, y, x)

        key = (plane, y.first, x.first)
        step = Step(
            Operand(key, lambda base: self._loads(base, plane, blocks, y, x)), None, compute
        )
        return Tile(
            f"planes {plane}+{blocks}, rows {y.first}+{y.count}, columns {x.first}+{x.count}",
            begin,
            [step],
            [End(lambda base: None, lambda base: self._stores(base, plane, blocks, y, x))],
        )

    def _reduce(self, base: int, source: int, blocks: int, y: _Axis, x: _Axis) -> None:
        layer = self.layer
        for row in range(layer.kernel[0]):
            top, rows, first_row = y.reached(
                row * layer.dilations[0] - layer.pads[0], layer.strides[0], layer.height
            )
            for column in range(layer.kernel[1]):
                left, columns, first_column = x.reached(
                    column * layer.dilations[1] - layer.pads[1], layer.strides[1], layer.width
                )
                if not rows or not columns:
                    continue
                planes = np.arange(blocks)
                dst = base + planes * (y.count * x.count) + top * x.count + left
                src = source + planes * (y.size * x.size) + first_row * x.size + first_column
                dst_steps = (x.count if rows > 1 else 0, 1)
                src_steps = (layer.strides[0] * x.size if rows > 1 else 0, layer.strides[1])
                loop = (0, blocks), (rows, columns), dst_steps, src_steps
                self.builder.emit(Alu(*loop, operation=AluOpcode.MAX), micro_ops(dst, src))

    def _loads(self, base: int, plane: int, blocks: int, y: _Axis, x: _Axis) -> list[Transfer]:
        layer = self.layer
        image = layer.height * layer.width
        return _rectangles(
            Memory.INP,
            INPUT,
            base,
            plane,
            blocks,
            image,
            layer.width,
            (y.begin, y.size),
            x.begin,
            x.size,
        )

    def _stores(self, base: int, plane: int, blocks: int, y: _Axis, x: _Axis) -> list[Transfer]:
        image, width = self.layer.out_height * self.layer.out_width, self.layer.out_width
        return _rectangles(
            Memory.OUT,
            OUTPUT,
            base,
            plane,
            blocks,
            image,
            width,
            (y.first, y.count),
            x.first,
            x.count,
        )


def _rectangles(
    memory: Memory,
    buffer: str,
    base: int,
    plane: int,
    planes: int,
    image: int,
    width: int,
    rows: tuple[int, int],
    column: int,
    columns: int,
) -> list[Transfer]:
    """Transfers of a rectangle of several planes; of whole planes, a single one."""
    start = plane * image + rows[0] * width + column
    count = rows[1] * columns
    if count == image:
        return [Transfer(memory, base, buffer, start, 1, planes * image, planes * image)]
    if columns == width and image < 1 << 16:
        return [Transfer(memory, base, buffer, start, planes, count, image)]
    return [
        Transfer(memory, base + n * count, buffer, start + n * image, rows[1], columns, width)
        for n in range(planes)
    ]
