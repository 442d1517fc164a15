"""Rows of a sparse weight as relative indices, in slices whose rows run in lockstep.

A row's non-zeros become entries (gap, position in the row's data): the gap is the distance to the
entry before, minus one. A gap of ``2**gap_bits`` or more is bridged by filler entries that carry
the value zero and advance by ``2**gap_bits`` columns each (Han, Mao, Dally 2016, section 2; Han et
al. 2016, EIE, section III-B, with the gap's full range).

``lanes`` rows form a slice. Entry ``t`` of each lane of a slice stands side by side, and shorter
lanes are padded to the longest with entries of gap 0 and value zero. Rows of similar length share a
slice where that saves more padding than the order of the rows costs.
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
        Flat index of each entry's weight in the matrix; -1 for fillers and padding. Same shape,
        int64.
    bases
        First step of each slice, and the number of steps at the end; shape (slices + 1), int32.
    order
        Row of each lane of each slice, shape (slices * lanes), the number of rows for lanes without
        one; None: in order.
    """

    gaps: npt.NDArray[np.int32]
    source: npt.NDArray[np.int64]
    bases: npt.NDArray[np.int32]
    order: npt.NDArray[np.unsignedinteger] | None = None

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.bases) - 1


def slice_rows(
    mask: npt.NDArray[np.bool_], lanes: int, gap_bits: int, *, sort: bool = False
) -> SlicedEntries:
    """Lay the non-zeros of ``mask``, shape (rows, columns), out in slices of ``lanes`` rows.

    ``sort`` permits another order of the rows.
    """
    rows, columns = mask.shape
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

    counts = np.bincount(entry_row, minlength=rows)
    order = _row_order(counts, lanes) if sort else None
    place = np.arange(rows)  # slice and lane of each row
    if order is not None:
        place[order[order < rows]] = np.flatnonzero(order < rows)
    bases = np.concatenate([[0], np.cumsum(_steps(counts, lanes, order))])
    starts = np.cumsum(counts) - counts
    entry_place = place[entry_row]
    step = np.arange(entry_row.size) - starts[entry_row] + bases[entry_place // lanes]
    shape = (int(bases[-1]), lanes)
    laid_gaps = np.zeros(shape, dtype=np.int32)
    laid_source = np.full(shape, -1, dtype=np.int64)
    laid_gaps[step, entry_place % lanes] = gaps
    laid_source[step, entry_place % lanes] = source
    return SlicedEntries(laid_gaps, laid_source, bases.astype(np.int32), order)


def _steps(
    counts: npt.NDArray[np.integer], lanes: int, order: npt.NDArray[np.integer] | None
) -> npt.NDArray[np.integer]:
    """Count the steps of each slice: its longest lane."""
    slices = -(-counts.size // lanes)
    padded = np.zeros(slices * lanes + 1, dtype=np.int64)
    padded[: counts.size] = counts
    if order is not None:
        padded = np.append(counts, 0)[order]
    return padded[: slices * lanes].reshape(slices, lanes).max(axis=1, initial=0)


def _row_order(
    counts: npt.NDArray[np.integer], lanes: int
) -> npt.NDArray[np.unsignedinteger] | None:
    """Rows by falling length; None where the order costs more than the padding that it saves."""
    rows, slices = counts.size, -(-counts.size // lanes)
    order = np.full(slices * lanes, rows, dtype=np.uint32)
    order[:rows] = np.argsort(-counts, kind="stable")
    narrow = order.astype(np.uint16) if rows < 1 << 16 else order
    saved = int(_steps(counts, lanes, None).sum() - _steps(counts, lanes, order).sum())
    # An entry has at least about a byte.
    return narrow if saved * lanes > narrow.nbytes else None


def full_slices(rows: int, columns: int, lanes: int) -> SlicedEntries:
    """Entries of a weight without a mask: every column in turn, so every gap is zero."""
    slices = -(-rows // lanes)
    row = np.arange(slices * lanes).reshape(slices, 1, lanes)
    source = row * columns + np.arange(columns).reshape(1, columns, 1)
    source = np.where(row < rows, source, -1).reshape(slices * columns, lanes)
    bases = np.arange(slices + 1, dtype=np.int32) * np.int32(columns)
    return SlicedEntries(np.zeros(source.shape, dtype=np.int32), source, bases)


def unslice(entries: SlicedEntries, rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Inverse of :func:`slice_rows`: the mask of shape (rows, columns) that the gaps say.

    ``source`` only tells fillers from weights.
    """
    lanes = entries.gaps.shape[1]
    mask = np.zeros((rows + 1, columns), dtype=np.bool_)
    order = np.arange(entries.slices * lanes) if entries.order is None else entries.order
    for index in range(entries.slices):
        span = slice(int(entries.bases[index]), int(entries.bases[index + 1]))
        column = np.cumsum(entries.gaps[span] + 1, axis=0) - 1
        kept = entries.source[span] >= 0
        lane = np.broadcast_to(np.arange(lanes), column.shape)
        mask[order[index * lanes + lane[kept]], column[kept]] = True
    return mask[:rows]
