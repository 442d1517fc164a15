"""Rows of a sparse weight as relative indices, in slices whose rows run in lockstep.

A row's non-zeros become entries (gap, position in the row's data): the gap is the distance to the
entry before, minus one. A gap of ``2**gap_bits`` or more is bridged by filler entries that carry
the value zero and advance by ``2**gap_bits`` columns each (Han, Mao, Dally 2016, section 2; Han et
al. 2016, EIE, section III-B, with the gap's full range).

``lanes`` rows form a slice. Entry ``t`` of each lane of a slice stands side by side, and shorter
lanes are padded to the longest with entries of gap 0 and value zero. ``codegen.row_order`` says
which rows share a slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.codegen.row_order import row_order, steps_of_slices


@dataclass(frozen=True, kw_only=True)
class Entries:
    """Entries of all slices, laid out for lanes in lockstep; a subclass says their columns.

    Attributes
    ----------
    source
        Flat index of each entry's weight in the matrix; -1 for fillers and padding. Shape (steps of
        all slices, lanes), int64.
    bases
        First step of each slice, and the number of steps at the end; shape (slices + 1), int32.
    order
        Row of each lane of each slice, shape (slices * lanes), the number of rows for lanes without
        one; None: in order.
    """

    source: npt.NDArray[np.int64]
    bases: npt.NDArray[np.int32]
    order: npt.NDArray[np.unsignedinteger] | None = None

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.bases) - 1


@dataclass(frozen=True, kw_only=True)
class SlicedEntries(Entries):
    """Entries with relative columns.

    Attributes
    ----------
    gaps
        Columns between an entry and the one before it; the shape of ``source``, int32.
    """

    gaps: npt.NDArray[np.int32]


def slice_rows(
    mask: npt.NDArray[np.bool_],
    lanes: int,
    gap_bits: int,
    *,
    sort: bool = False,
    multiple: int = 1,
) -> SlicedEntries:
    """Lay the non-zeros of ``mask``, shape (rows, columns), out in slices of ``lanes`` rows.

    ``sort`` permits another order of the rows; slices get a multiple of ``multiple`` steps.
    """
    rows, columns = mask.shape
    flat = np.flatnonzero(mask)
    row, column = np.divmod(flat, max(columns, 1))
    before = np.concatenate([[-1], column[:-1]])
    before[np.flatnonzero(np.diff(row, prepend=-1))] = -1
    gap = column - before - 1
    return lay_out_runs(row, gap, flat, rows, lanes, gap_bits, sort=sort, multiple=multiple)


def lay_out_runs(
    row: npt.NDArray[np.integer],
    gap: npt.NDArray[np.integer],
    flat: npt.NDArray[np.integer],
    rows: int,
    lanes: int,
    gap_bits: int,
    *,
    sort: bool = False,
    multiple: int = 1,
) -> SlicedEntries:
    """Lay non-zeros out, of which row (ascending), gap before it and flat index are known."""
    repeats = (gap >> gap_bits) + 1
    entry_row = np.repeat(row, repeats)
    last = np.cumsum(repeats) - 1
    gaps = np.full(entry_row.size, (1 << gap_bits) - 1, dtype=np.int32)
    gaps[last] = gap & ((1 << gap_bits) - 1)
    source = np.full(entry_row.size, -1, dtype=np.int64)
    source[last] = flat

    counts = np.bincount(entry_row, minlength=rows)
    order = row_order(counts, lanes) if sort else None
    place = np.arange(rows)  # slice and lane of each row
    if order is not None:
        place[order[order < rows]] = np.flatnonzero(order < rows)
    steps = steps_of_slices(counts, lanes, order)
    bases = np.concatenate([[0], np.cumsum(steps + -steps % multiple)])
    starts = np.cumsum(counts) - counts
    entry_place = place[entry_row]
    step = np.arange(entry_row.size) - starts[entry_row] + bases[entry_place // lanes]
    shape = (int(bases[-1]), lanes)
    laid_gaps = np.zeros(shape, dtype=np.int32)
    laid_source = np.full(shape, -1, dtype=np.int64)
    laid_gaps[step, entry_place % lanes] = gaps
    laid_source[step, entry_place % lanes] = source
    return SlicedEntries(
        gaps=laid_gaps, source=laid_source, bases=bases.astype(np.int32), order=order
    )


def full_slices(rows: int, columns: int, lanes: int) -> SlicedEntries:
    """Entries of a weight without a mask: every column in turn, so every gap is zero."""
    slices = -(-rows // lanes)
    row = np.arange(slices * lanes).reshape(slices, 1, lanes)
    source = row * columns + np.arange(columns).reshape(1, columns, 1)
    source = np.where(row < rows, source, -1).reshape(slices * columns, lanes)
    bases = np.arange(slices + 1, dtype=np.int32) * np.int32(columns)
    gaps = np.zeros(source.shape, dtype=np.int32)
    return SlicedEntries(gaps=gaps, source=source, bases=bases)


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
