"""Entries and bytes of a weight in each storage form, estimated without packing it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dcc.codegen.code_grid import code_width
from dcc.codegen.packed_weight import steps_of_word
from dcc.codegen.weight_matrix import Form, WeightMatrix

WINDOW_PADDING = {32: (0.065, -0.84), 16: (0.082, -0.86)}
"""Padding of windows of so many columns, over 16 and over 8 rows: this share of the non-zeros at
full density, and by this power of the density; measured from 0.02 (2.8 and 3.4 entries a non-zero)
to 0.25 (1.2)."""
WINDOW_START_BYTES = 2


def window_padding(density: float, window: int) -> float:
    """Entries without a weight for each with one, in windows of ``window`` columns."""
    share, power = WINDOW_PADDING[32 if window >= 32 else 16]
    return float(share * max(density, 1e-3) ** power)


class FormSizes:
    """Entries and bytes of a weight in each form, packed in slices of ``lanes`` rows.

    Parameters
    ----------
    windowed
        Columns of a window, of the forms that have windows instead of gaps.
    """

    def __init__(
        self, weight: WeightMatrix, lanes: int, windowed: Mapping[Form, int] | None = None
    ) -> None:
        self.weight = weight
        self.lanes = lanes
        self.windowed = windowed or {}
        size = weight.grid.size
        if weight.mask is None:
            self.gaps = np.zeros(0, dtype=np.int64)
            self.kept = size
        else:
            positions = np.flatnonzero(weight.mask)
            self.gaps = np.diff(positions, prepend=-1) - 1
            self.kept = positions.size

    def entries(self, form: Form) -> int:
        """Entries that a kernel reads: fillers among them, padding of lanes not."""
        if form in ("dense", "codebook"):
            return int(self.weight.grid.size)
        if form in self.windowed:
            return int(self.kept * (1 + self._padding(form)))
        return self._entries(self._uncoded_width()[1])

    def _padding(self, form: Form) -> float:
        return window_padding(self.weight.density, self.windowed[form])

    def _offset_bits(self, form: Form) -> int:
        return (self.windowed[form] - 1).bit_length()

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
            return weight.grid.size * code_width(weight.code_bits) // 8 + codebook
        values = 0 if weight.codebook is not None else self.entries(form) * item
        if form == "sparse" and form in self.windowed:
            coded = 1 if weight.codebook is None else 4 / self._steps_of_word(form)
            each = coded + WINDOW_START_BYTES / self.lanes
            return int(self.entries(form) * each) + values + codebook + 4 * slices
        if form == "sparse":
            return (
                self.entries(form) * self._uncoded_width()[0] // 8 + values + codebook + 4 * slices
            )
        bits = self._window_bits() if form in self.windowed else self._entropy_bits()
        table = 4 << self._table_bits(bits)
        return int(bits / 8) + values + codebook + table + slices * (8 + 6 * self.lanes)

    def _steps_of_word(self, form: Form) -> int:
        return steps_of_word(self._offset_bits(form) + self.weight.code_bits)

    def _table_bits(self, bits: float) -> int:
        """Width of the decode table: no more than the alphabet needs, nor than the stream pays."""
        alphabet = self.weight.code_bits
        if self.weight.mask is not None:
            alphabet += int(np.ceil(-np.log2(max(self.weight.density, 2.0**-10)))) + 2
        paid = int(np.log2(max(bits, 64) / 64))
        return max(4, min(paid, alphabet, 12))

    def _window_bits(self) -> float:
        """Bits of offsets and codes, and what tells padding apart."""
        weight = self.weight
        codes = 0.0 if weight.codes is None else _entropy(weight.codes[weight.mask].ravel())
        padding = self._padding("huffman")
        share = padding / (1 + padding)
        flag = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
        return (
            self.kept * self._offset_bits("huffman") + codes + self.entries("huffman") * float(flag)
        )

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
