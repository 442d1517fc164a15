"""Rows of a sparse weight as relative indices, in slices whose rows run in lockstep.

A row's non-zeros become entries (gap, position in the row's data): the gap is the distance to the entry before, minus
one. A gap of ``2**gap_bits`` or more is bridged by filler entries that carry the value zero and advance by ``2**gap_bits``
columns each (Han, Mao, Dally 2016, section 2; Han et al. 2016, EIE, section III-B, with the gap's full range).

``lanes`` consecutive rows form a slice. Entry ``t`` of each lane of a slice stands side by side, and shorter lanes are
padded to the longest with entries of gap 0 and value zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class SlicedEntries:
    """Entries of all slices, laid out for lanes in lockstep.

    Attributes
    ----------
    gaps
        Shape (steps of all slices, lanes), int32.
    source
        Flat index of each entry's weight in the matrix; -1 for fillers and padding. Same shape, int64.
    bases
        First step of each slice, and the number of steps at the end; shape (slices + 1), int32.
    """

    gaps: npt.NDArray[np.int32]
    source: npt.NDArray[np.int64]
    bases: npt.NDArray[np.int32]

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.bases) - 1


def slice_rows(mask: npt.NDArray[np.bool_], lanes: int, gap_bits: int) -> SlicedEntries:
    """Lay the non-zeros of ``mask``, shape (rows, columns), out in slices of ``lanes`` rows."""
    rows, columns = mask.shape
    slices = -(-rows // lanes)
    flat = np.flatnonzero(mask)
    row, column = np.divmod(flat, max(columns, 1))
    before = np.concatenate([[-1], column[:-1]])
    before[np.flatnonzero(np.diff(row, prepend=-1))] = -1
    gap = column - before - 1
    repeats = (gap >> gap_bits) + 1
    entry_row = np.repeat(row, repeats)
    last = np.cumsum(repeats) - 1
    gaps = np.full(entry_row.size, (1 << gap_bits) - 1, dtype=np.int32)
    gaps[last] = gap & ((1 << gap_bits) - 1)
    source = np.full(entry_row.size, -1, dtype=np.int64)
    source[last] = flat

    counts = np.zeros(slices * lanes, dtype=np.int64)
    counts[:rows] = np.bincount(entry_row, minlength=rows)
    steps = counts.reshape(slices, lanes).max(axis=1, initial=0)
    bases = np.concatenate([[0], np.cumsum(steps)])
    starts = np.cumsum(counts) - counts
    step = np.arange(entry_row.size) - starts[entry_row] + bases[entry_row // lanes]
    shape = (int(bases[-1]), lanes)
    laid_gaps = np.zeros(shape, dtype=np.int32)
    laid_source = np.full(shape, -1, dtype=np.int64)
    laid_gaps[step, entry_row % lanes] = gaps
    laid_source[step, entry_row % lanes] = source
    return SlicedEntries(laid_gaps, laid_source, bases.astype(np.int32))


def full_slices(rows: int, columns: int, lanes: int) -> SlicedEntries:
    """Entries of a weight without a mask: every column in turn, so every gap is zero."""
    slices = -(-rows // lanes)
    row = np.arange(slices * lanes).reshape(slices, 1, lanes)
    source = row * columns + np.arange(columns).reshape(1, columns, 1)
    source = np.where(row < rows, source, -1).reshape(slices * columns, lanes)
    bases = np.arange(slices + 1, dtype=np.int32) * np.int32(columns)
    return SlicedEntries(np.zeros(source.shape, dtype=np.int32), source, bases)


def unslice(entries: SlicedEntries, rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Inverse of :func:`slice_rows`: the mask that the gaps say, from the gaps and the fillers alone."""
    lanes = entries.gaps.shape[1]
    mask = np.zeros((entries.slices * lanes, columns), dtype=np.bool_)
    for index in range(entries.slices):
        span = slice(int(entries.bases[index]), int(entries.bases[index + 1]))
        column = np.cumsum(entries.gaps[span] + 1, axis=0) - 1
        kept = entries.source[span] >= 0
        lane = np.broadcast_to(np.arange(lanes), column.shape)
        mask[index * lanes + lane[kept], column[kept]] = True
    return mask[:rows]
