"""Tile sizes of a convolution: what fits, and an estimate of the cycles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dcc.codegen.vta.buffers import DIGITS
from dcc.codegen.vta.microop_buffer import MOST_IN_LOAD
from dcc.schedules.vta.layers import ConvLayer
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import Memory

Order = Literal["outputs", "pixels"]
"""Which tiles are the outer loop: those of output channels, or those of pixels."""
_COMBINATIONS = 8  # of the slots of INP, WGT and ACC that two threads have
_MOST_PIECES = 12


@dataclass(frozen=True)
class Tiling:
    """The tunables of a convolution.

    Attributes
    ----------
    rows, columns
        Output pixels of a tile.
    outputs, inputs
        Blocks of 16 output channels of a tile, and of input channels of a step.
    order
        The outer loop.
    threads
        Virtual threads: 2 overlaps loads and stores with computation, 1 does not.
    """

    rows: int
    columns: int
    outputs: int
    inputs: int
    order: Order = "outputs"
    threads: int = 2

    def input_pixels(self, layer: ConvLayer) -> int:
        """Input pixels of a tile, padding included."""
        rows = (self.rows - 1) * layer.strides[0] + layer.span[0]
        return rows * ((self.columns - 1) * layer.strides[1] + layer.span[1])

    def slots(self, layer: ConvLayer) -> tuple[int, int, int]:
        """Elements of INP, WGT and ACC that one virtual thread needs."""
        inputs = self.inputs * self.input_pixels(layer)
        tile = self.outputs * self.rows * self.columns
        if layer.residual is not None:
            inputs = max(inputs, tile)
        if layer.sums_in:
            inputs = max(inputs, DIGITS * tile)
        # Tiles of one or two pixels, which others have at their edges, may need three copies.
        accumulators = max(DIGITS * tile if layer.sums_out else tile, 6 * self.outputs)
        return inputs, self.outputs * self.inputs * math.prod(layer.kernel), accumulators

    def fits(self, layer: ConvLayer, device: Accelerator) -> bool:
        """Whether all slots fit into the scratchpads."""
        inputs, weights, tile = self.slots(layer)
        # Elements of WGT keep the identities that residuals and sums are multiplied by.
        spare = layer.identities
        spare += layer.output_blocks if layer.bias_blocks else 0
        bias = self.outputs if layer.bias and not layer.bias_blocks else 0
        tall = (self.rows - 1) * layer.strides[0] + layer.span[0] > 1
        stride = max(layer.width * tall, layer.out_width * (self.rows > 1))
        return (
            stride <= device.limits.stride
            and inputs * self.threads + layer.bias_blocks <= device.depths[Memory.INP]
            and weights * self.threads + spare <= device.depths[Memory.WGT]
            and tile * self.threads + bias <= device.depths[Memory.ACC]
        )


def candidates(
    layer: ConvLayer, device: Accelerator, output_blocks: int | None = None
) -> Iterator[Tiling]:
    """All tilings worth a thought that fit, with two threads and with one."""
    blocks = layer.output_blocks if output_blocks is None else output_blocks
    for threads in (2, 1):
        for columns in _parts(layer.out_width):
            for rows in _parts(layer.out_height):
                for outputs in _parts(blocks):
                    if outputs * rows * columns * threads > device.depths[Memory.ACC]:
                        continue
                    for inputs in _parts(layer.input_blocks):
                        tiling = Tiling(rows, columns, outputs, inputs, "outputs", threads)
                        if not tiling.fits(layer, device):
                            continue
                        yield tiling
                        if blocks > outputs:
                            yield Tiling(rows, columns, outputs, inputs, "pixels", threads)


def _parts(size: int) -> list[int]:
    """Sizes of the pieces when ``size`` is cut into about equal ones, few or of few elements."""
    sizes = {-(-size // pieces) for pieces in range(1, min(size, _MOST_PIECES) + 1)}
    return sorted(sizes | {n for n in (1, 2, 4, 8, 16, 32) if n < size}, reverse=True)


def estimate(
    layer: ConvLayer,
    tiling: Tiling,
    device: Accelerator,
    output_blocks: int | None = None,
    share: float = 1.0,
) -> float:
    """Estimate the cycles of a layer, about as the simulator would count them.

    Parameters
    ----------
    output_blocks
        Of the part of the layer that one stream computes; None: all.
    share
        Part of the weight blocks that are stored.
    """
    timing = device.timing
    blocks = layer.output_blocks if output_blocks is None else output_blocks
    tiles_y, tiles_x = -(-layer.out_height // tiling.rows), -(-layer.out_width // tiling.columns)
    spatial = layer.batch * tiles_y * tiles_x
    groups, steps = -(-blocks // tiling.outputs), -(-layer.input_blocks // tiling.inputs)
    tiles = spatial * groups
    kernel = math.prod(layer.kernel)
    pixels = layer.batch * layer.out_height * layer.out_width
    multiply = pixels * blocks * layer.input_blocks * kernel * share
    row = layer.requantise
    bias = 1 if layer.bias_blocks else 2 * layer.bias
    epilogue = 1 + bias + 2 + bool(row.shift) + 3 * (layer.residual is not None)
    ops = 4 + bool(row.shift) + layer.bias + steps
    compute = multiply + pixels * blocks * epilogue + tiles * ops * timing.instruction
    beat = timing.beat
    kept = steps <= tiling.threads
    weight_loads = groups if kept and tiling.order == "outputs" else tiles
    input_loads = spatial if kept and tiling.order == "pixels" else tiles
    weight_cycles = blocks / groups * layer.input_blocks * kernel * share * 32 * beat
    # One LOAD brings several blocks of inputs where they are whole rows of the image.
    strips = any(layer.pads) or tiling.columns < layer.out_width
    input_cycles = layer.input_blocks * tiling.input_pixels(layer) * 2 * beat
    input_cycles += (layer.input_blocks if strips else steps) * timing.read_latency
    loads = weight_loads * (weight_cycles + steps * timing.read_latency)
    loads += input_loads * input_cycles
    store_rows = 1 if tiling.columns == layer.out_width else tiling.rows
    stores = pixels * blocks * (timing.store_element + timing.store_burst / 8)
    stores += tiles * tiling.outputs * store_rows * timing.store_burst / 2
    # The first tile is loaded by blocks of inputs, the last stored by blocks of outputs.
    first = (weight_cycles + input_cycles) / layer.input_blocks + timing.read_latency
    last = stores / tiles / tiling.outputs
    lists = tiling.outputs * tiling.inputs * kernel * share * _group(tiling)
    # A list is there for each combination of the slots, if all of them fit and all are alike.
    resident = share == 1 and lists * _COMBINATIONS <= device.limits.micro_ops
    loaded = _COMBINATIONS if resident else tiles * steps
    compute += loaded * lists * (beat / 2 + timing.read_latency / MOST_IN_LOAD)
    if tiling.threads == 1:
        return first + compute + loads + stores
    return first + max(compute, loads, stores) + last + 0.02 * min(compute, loads)


def _group(tiling: Tiling) -> int:
    """Pixels of a list of micro-ops, so that three of them differ in what they add to."""
    least = -(-3 // tiling.outputs)
    for pixels in range(least, least + 3):
        if any(
            pixels % rows == 0
            and tiling.rows % rows == 0
            and tiling.columns % (pixels // rows) == 0
            for rows in range(1, pixels + 1)
        ):
            return pixels
    return tiling.columns


def default_tiling(
    layer: ConvLayer,
    device: Accelerator,
    output_blocks: int | None = None,
    share: float = 1.0,
) -> Tiling | None:
    """Take the tiling with the fewest estimated cycles; None where none fits."""
    return min(
        candidates(layer, device, output_blocks),
        key=lambda tiling: estimate(layer, tiling, device, output_blocks, share),
        default=None,
    )
