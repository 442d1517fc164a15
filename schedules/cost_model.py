"""What a layer costs in each storage form: bytes kept, bytes touched, time and energy.

Time is the larger of arithmetic and memory traffic. The nanoseconds below were measured on one core
of an AVX-512 machine with ``benchmarks/kernel_costs.py`` and scale with the vector width; only
their ratios decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcc.codegen.packed import codes_per_byte
from dcc.codegen.weight_matrix import FORMS, Form, WeightMatrix
from dcc.schedules.kernels import LayerShape, default_lanes
from dcc.targets.target import Target

REFERENCE_VECTOR = 16


@dataclass(frozen=True)
class FormCosts:
    """Nanoseconds of one core.

    Attributes
    ----------
    row_entry
        An entry of the rows kernel, for the first sample; ``row_sample`` for each further one.
    decode_entry
        Reading an entry into the tile of the pixel kernel.
    """

    row_entry: float
    row_sample: float
    decode_entry: float


COSTS: dict[Form, FormCosts] = {
    "dense": FormCosts(0.10, 0.06, 0.9),
    "codebook": FormCosts(0.60, 0.06, 1.2),
    "sparse": FormCosts(1.3, 0.8, 1.6),
    "huffman": FormCosts(3.0, 0.8, 3.6),
}
PIXEL_MULTIPLICATION = 0.012
"""Nanoseconds of one multiplication in the pixel kernel, 16 lanes wide."""
BYTES_PER_NANOSECOND = 8.0
"""Main memory, one core."""


@dataclass(frozen=True)
class Estimate:
    """Cost of a layer in one form.

    Attributes
    ----------
    kept_bytes
        In the file and in memory; of the dense form, its coded weight in the file.
    touched_bytes
        Read from the weight in one run.
    nanoseconds, picojoules
        Of one run.
    """

    form: Form
    kept_bytes: int
    touched_bytes: int
    nanoseconds: float
    picojoules: float


def estimate_all(weight: WeightMatrix, shape: LayerShape, target: Target) -> dict[Form, Estimate]:
    """Estimate every form that can store ``weight``."""
    legal: list[Form] = [form for form in FORMS if weight.refusal(form) is None]
    counts = _Counts(weight, default_lanes(shape, target))
    sizes = {form: counts.bytes_of(form) for form in legal}
    coded = [size for form, size in sizes.items() if form != "dense"]
    result = {}
    for form in legal:
        kept = min(coded, default=sizes["dense"]) if form == "dense" else sizes[form]
        entries = counts.entries if form in ("sparse", "huffman") else weight.grid.size
        nanoseconds = _time(form, entries, sizes[form], shape, target)
        energy = _energy(entries, sizes[form], shape, target)
        result[form] = Estimate(form, kept, sizes[form], nanoseconds, energy)
    return result


class _Counts:
    """Entries and bytes of a weight, from the histogram of its gaps (lane padding left out)."""

    def __init__(self, weight: WeightMatrix, lanes: int) -> None:
        self.weight = weight
        self.lanes = lanes
        size = weight.grid.size
        if weight.mask is None:
            self.gaps = np.zeros(0, dtype=np.int64)
            self.kept = size
        else:
            positions = np.flatnonzero(weight.mask)
            self.gaps = np.diff(positions, prepend=-1) - 1
            self.kept = positions.size
        self.entries = self._entries(self._uncoded_width()[1])

    def _entries(self, gap_bits: int) -> int:
        if self.weight.mask is None:
            return self.kept
        return int(self.kept + (self.gaps >> gap_bits).sum())

    def _uncoded_width(self) -> tuple[int, int]:
        """(bits of an entry, bits of its gap) of the sparse form."""
        if self.weight.mask is None:
            return (8 if self.weight.codebook is not None else 0), 0
        widths = [(bits, bits - self.weight.code_bits) for bits in (8, 16)]
        fitting = [(bits, gap) for bits, gap in widths if gap > 0]
        return min(fitting, key=lambda w: w[0] * self._entries(w[1]))

    def bytes_of(self, form: Form) -> int:
        """Bytes of the packed weight."""
        weight, item = self.weight, self.weight.dtype.itemsize
        slices = -(-weight.rows // self.lanes)
        codebook = weight.codebook.nbytes if weight.codebook is not None else 0
        if form == "dense":
            return weight.grid.size * item
        if form == "codebook":
            return weight.grid.size // codes_per_byte(weight.code_bits) + codebook
        values = 0 if weight.codebook is not None else self.entries * item
        if form == "sparse":
            return self.entries * self._uncoded_width()[0] // 8 + values + codebook + 4 * slices
        bits = self._entropy_bits()
        table = 4 << int(np.clip(np.log2(max(bits, 64) / 64), 4, 12))
        return int(bits / 8) + values + codebook + table + slices * (8 + 6 * self.lanes)

    def _entropy_bits(self) -> float:
        weight = self.weight
        bits = _entropy(self.gaps) if weight.mask is not None else 0.0
        if weight.codes is None:
            return bits
        kept = weight.codes[weight.mask] if weight.mask is not None else weight.codes
        sparse = bits + _entropy(kept.ravel())
        return min(sparse, max(_entropy(weight.codes.ravel()), float(weight.codes.size)))


def _entropy(symbols: np.ndarray) -> float:
    counts = np.bincount(symbols)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum()) if counts.size else 0.0


def _by_pixels(shape: LayerShape, target: Target) -> bool:
    return default_lanes(shape, target) != target.vector_floats and shape.kind != "take"


def _time(form: Form, entries: int, touched: int, shape: LayerShape, target: Target) -> float:
    cost, width = COSTS[form], REFERENCE_VECTOR / target.vector_floats
    if shape.kind == "take":
        return cost.decode_entry * entries * shape.samples
    if _by_pixels(shape, target):
        multiplications = entries * shape.pixels
        arithmetic = entries * cost.decode_entry + multiplications * PIXEL_MULTIPLICATION * width
        reads = 1
    else:
        repeats = shape.recurrence.steps if shape.recurrence is not None else 1
        samples = shape.recurrence.batch if shape.recurrence is not None else shape.samples
        each = cost.row_entry + cost.row_sample * (samples - 1)
        arithmetic, reads = entries * each * width * repeats, repeats
    cores = max(target.cores, 1)
    traffic = touched * reads / BYTES_PER_NANOSECOND if touched > target.caches.level2 else 0.0
    return max(arithmetic / cores, traffic)


def _energy(entries: int, touched: int, shape: LayerShape, target: Target) -> float:
    """Memory once, arithmetic for every use (Horowitz's table): what EIE counts."""
    table = target.energy
    memory = table.dram_word if touched > target.caches.last_level else table.sram_word
    arithmetic = entries * shape.pixels * (table.float_multiply + table.float_add + table.sram_word)
    return touched / 4 * memory + arithmetic
