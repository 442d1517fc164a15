"""Nanoseconds of kernels of thread blocks, fitted to the layers of ``benchmarks/layers.py``.

Measured on an H200 were products: one sample in every form, 64 samples in the forms sparse and
huffman, and products in tiles of 8, 32 and 64 samples, whose share of the card's peak ``tile`` and
its heirs have. Lookups, recurrences and convolutions were not measured: their figures rank the
forms by how a thread reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dcc.codegen.code_grid import code_width
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.schedules.cuda.packing import block_packing
from dcc.schedules.cuda.tensor_tile import parts_of
from dcc.schedules.cuda.tiles import default_tile, in_tiles
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Gpu, Target


@dataclass(frozen=True)
class BlockCosts:
    """Nanoseconds of the whole card.

    Attributes
    ----------
    start
        A kernel that reads next to nothing.
    entry
        An entry of rows that are split over threads; ``sample`` each further sample of it.
    multiplication
        An entry for one pixel, or one of many samples.
    thread_entry
        An entry as one thread sees it that reads a row on its own.
    """

    start: float
    entry: float
    sample: float
    multiplication: float
    thread_entry: float


COSTS: Mapping[Form, BlockCosts] = {
    "dense": BlockCosts(4000.0, 0.00125, 0.00025, 0.00025, 4.0),
    "codebook": BlockCosts(3300.0, 0.0003, 0.0002, 0.00035, 4.0),
    "sparse": BlockCosts(3300.0, 0.0011, 0.0005, 0.00075, 6.0),
    "huffman": BlockCosts(4200.0, 0.0015, 0.0005, 0.0021, 15.0),
}
PHASE = 1700.0
"""Each further range of columns: its inputs have to arrive before anybody goes on."""
STEP = 2000.0
"""A time step of a recurrence: barriers, and the gates."""
MEASURED_MULTIPROCESSORS = 132


def block_nanoseconds(
    form: Form, entries: int, weight: WeightMatrix, shape: LayerShape, target: Target
) -> float:
    """Nanoseconds of one run of a layer whose packed weight has ``entries``."""
    gpu, cost = target.gpu, COSTS[form]
    assert gpu is not None
    scale = MEASURED_MULTIPROCESSORS / max(gpu.multiprocessors, 1)
    if shape.kind == "take":
        alone = form in ("sparse", "huffman")
        each = entries / max(weight.rows, 1) * cost.thread_entry if alone else 0.0
        return cost.start + each
    if shape.recurrence is not None:
        rows = -(-weight.rows // gpu.block_threads)
        row = entries / max(weight.rows, 1) * cost.thread_entry
        return cost.start + shape.recurrence.steps * (STEP + rows * row)
    if in_tiles(shape, form) and weight.dtype.name != "float64":
        return _tiles(form, weight, shape, gpu)
    if shape.by_pixels:
        pixels = -(-shape.pixels // gpu.warp) * gpu.warp
        return cost.start + entries * pixels * cost.multiplication * scale
    each = cost.entry * scale + cost.sample * scale * (shape.samples - 1)
    return cost.start + entries * each + PHASE * (_phases(form, weight, shape, gpu) - 1)


def _tiles(form: Form, weight: WeightMatrix, shape: LayerShape, gpu: Gpu) -> float:
    """Nanoseconds of a product in dense tiles."""
    parts = parts_of(weight.grid if weight.codebook is None else weight.codebook)
    tile = default_tile(shape, weight.rows, weight.columns, parts, gpu)
    if form == "codebook":
        return tile.nanoseconds(gpu, code_width(weight.code_bits) / 8, lookups=True)
    return tile.nanoseconds(gpu, weight.dtype.itemsize)


def _phases(form: Form, weight: WeightMatrix, shape: LayerShape, gpu: Gpu) -> int:
    return block_packing(shape, form, gpu, weight).phases
