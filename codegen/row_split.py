"""Rows of a weight split over the lanes of a processor with thousands of them.

A block of threads computes ``block_rows`` rows. Each row is cut into ``phases`` ranges of columns,
whose inputs the block holds in shared memory one after the other, and each range into ``segments``
that run at the same time in lanes of their own, with streams of their own. A segment of one row is
a *part*; the parts of a block stand phase by phase, segment by segment, row by row:

    part = ((block * phases + phase) * segments + segment) * block_rows + row

``lanes`` neighbouring parts are a slice and run in lockstep, mostly the same segment of as many
rows. Segments of a masked weight hold equal numbers of non-zeros, and ``origins`` says at which
column each begins; the others are ranges of ``width`` columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.codegen.packing import Packing
from dcc.codegen.row_order import row_order
from dcc.codegen.slices import SlicedEntries, lay_out_runs


@dataclass(frozen=True)
class RowSplit:
    """How rows are split; see the module.

    Attributes
    ----------
    width
        Columns of a segment of a weight without a mask; ``segments * width`` are those of a phase.
    """

    block_rows: int
    segments: int
    phases: int
    width: int

    @staticmethod
    def of(packing: Packing, columns: int, multiple: int = 1) -> RowSplit:
        """Split ``columns``; segments without a mask have a ``multiple`` of columns."""
        cells = packing.segments * packing.phases
        width = -(-max(columns, 1) // (cells * multiple)) * multiple
        phases = -(-max(columns, 1) // (packing.segments * width))
        return RowSplit(packing.block_rows, packing.segments, phases, width)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.block_rows * self.segments

    @property
    def phase_columns(self) -> int:
        """Columns of a phase."""
        return self.segments * self.width

    def blocks(self, rows: int) -> int:
        """Count the blocks."""
        return -(-rows // self.block_rows)

    def parts(self, rows: int) -> int:
        """Count the parts of all blocks."""
        return self.blocks(rows) * self.phases * self.threads

    def part(
        self,
        place: npt.NDArray[np.integer],
        phase: npt.NDArray[np.integer],
        segment: npt.NDArray[np.integer],
    ) -> npt.NDArray[np.integer]:
        """Return the number of the part of the row at ``place`` in the order of the rows."""
        block, row = np.divmod(place, self.block_rows)
        return ((block * self.phases + phase) * self.segments + segment) * self.block_rows + row


@dataclass(frozen=True, kw_only=True)
class SplitEntries(SlicedEntries):
    """Entries of the parts; ``order`` is that of whole rows, ``block_rows`` a slice of it.

    Attributes
    ----------
    origins
        Column, counted from that of the phase, at which a part begins; shape (parts).
    reach
        Columns of a phase that are read, with those that padding runs past.
    """

    origins: npt.NDArray[np.unsignedinteger]
    reach: int


def split_rows(
    mask: npt.NDArray[np.bool_],
    split: RowSplit,
    lanes: int,
    gap_bits: int,
    *,
    sort: bool = False,
    multiple: int = 1,
) -> SplitEntries:
    """Lay the non-zeros of ``mask``, shape (rows, columns), out; see ``slices.slice_rows``."""
    rows, columns = mask.shape
    flat = np.flatnonzero(mask)
    row, column = np.divmod(flat, max(columns, 1))
    order = row_order(np.bincount(row, minlength=rows), split.block_rows) if sort else None
    phase = column // split.phase_columns
    cell = row * split.phases + phase
    counts = np.bincount(cell, minlength=rows * split.phases)
    rank = np.arange(flat.size) - (np.cumsum(counts) - counts)[cell]
    share = np.maximum(-(-counts // split.segments), 1)
    part = split.part(_places(order, rows)[row], phase, rank // share[cell])
    sequence = np.argsort(part, kind="stable")
    part, flat = part[sequence], flat[sequence]
    column = (column - phase * split.phase_columns)[sequence]
    first = np.diff(part, prepend=-1) != 0
    gap = np.where(first, 0, column - np.concatenate([[0], column[:-1]]) - 1)
    origins = np.zeros(split.parts(rows), dtype=np.int64)
    origins[part[first]] = column[first]
    laid = lay_out_runs(part, gap, flat, origins.size, lanes, gap_bits, multiple=multiple)
    return SplitEntries(
        source=laid.source,
        gaps=laid.gaps,
        bases=laid.bases,
        order=order,
        origins=narrow(origins),
        reach=_reach(laid, origins, split),
    )


def split_columns(rows: int, columns: int, split: RowSplit, lanes: int) -> SplitEntries:
    """Lay every column of a weight without a mask out: ``width`` entries a part."""
    part = np.arange(split.parts(rows))
    rest, row = np.divmod(part, split.block_rows)
    rest, segment = np.divmod(rest, split.segments)
    block, phase = np.divmod(rest, split.phases)
    row = row + block * split.block_rows
    first = phase * split.phase_columns + segment * split.width
    column = first[:, None] + np.arange(split.width)
    inside = (row < rows)[:, None] & (column < columns)
    source = np.where(inside, row[:, None] * columns + column, -1)
    source = source.reshape(-1, lanes, split.width).transpose(0, 2, 1).reshape(-1, lanes)
    slices = part.size // lanes
    return SplitEntries(
        source=np.ascontiguousarray(source),
        gaps=np.zeros(source.shape, dtype=np.int32),
        bases=np.arange(slices + 1, dtype=np.int32) * np.int32(split.width),
        origins=narrow(segment * split.width),
        reach=split.phase_columns,
    )


def narrow(numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.unsignedinteger]:
    """Store numbers in 16 bits where they fit, else in 32."""
    small = int(numbers.max(initial=0)) < 1 << 16
    return numbers.astype(np.uint16) if small else numbers.astype(np.uint32)


def _places(order: npt.NDArray[np.unsignedinteger] | None, rows: int) -> npt.NDArray[np.int64]:
    """Where each row stands."""
    places = np.arange(rows)
    if order is not None:
        places[order[order < rows]] = np.flatnonzero(order < rows)
    return places


def _reach(laid: SlicedEntries, origins: npt.NDArray[np.int64], split: RowSplit) -> int:
    """One more than the last column that an entry, padding among them, points at."""
    after = np.cumsum(laid.gaps + 1, axis=0, dtype=np.int64)
    totals = np.concatenate([np.zeros((1, after.shape[1]), np.int64), after])[laid.bases]
    last = origins.reshape(-1, after.shape[1]) + np.diff(totals, axis=0)
    return max(int(last.max(initial=0)), split.phase_columns)
