"""Rows of a sparse weight as entries in windows of columns: a kernel reads x without gathers.

Each step of a slice has a window of consecutive columns, which a kernel holds in registers. An
entry is (offset in the window, position in the row's data), and a permutation of the registers
brings every lane its element of x.

The window of a step starts at the least column that a lane of the slice still has to visit, rounded
down to a multiple of ``align``, so that fewer loads of x straddle two cache lines, and at most at
the last whole window. Every lane whose next non-zero lies in it takes one entry; the others are
padded with an entry of offset 0 and value zero. The denser the rows, the less padding: 1.2 entries
a non-zero at a density of 25 % (16 lanes, 32 columns), 1.5 at 9 %, 2.0 at 4 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.codegen.row_order import Order, row_order
from dcc.codegen.slices import Entries

LEAST_SAVING = 0.1


@dataclass(frozen=True, kw_only=True)
class WindowedEntries(Entries):
    """Entries with columns relative to the window of their step.

    Attributes
    ----------
    windows
        First column of each step's window, shape (steps of all slices), int32.
    offsets
        Column of an entry in its window; the shape of ``source``, uint8.
    """

    windows: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.uint8]


def window_rows(
    mask: npt.NDArray[np.bool_],
    lanes: int,
    window: int,
    align: int,
    *,
    sort: bool = False,
    multiple: int = 1,
) -> WindowedEntries:
    """Lay the non-zeros of ``mask``, shape (rows, columns), out in slices of ``lanes`` rows.

    Parameters
    ----------
    window
        Columns of a window, at most those of the mask.
    align
        Windows start at multiples of so many columns: at most ``window``.
    sort
        Whether another order of the rows is permitted.
    multiple
        Slices get a multiple of so many steps.

    Raises
    ------
    ValueError
        Windows this far apart leave columns between them.
    """
    if align > window:
        raise ValueError(f"windows of {window} columns cannot start at multiples of {align}")
    rows, columns = mask.shape
    slices = -(-rows // lanes)
    counts = np.count_nonzero(mask, axis=1)
    order = row_order(counts, lanes, LEAST_SAVING) if sort else None
    visits = _Visits(mask, counts, slices * lanes, order)
    rounds: list[tuple[npt.NDArray[np.integer], ...]] = []
    active = np.arange(slices)
    pointer = visits.first.reshape(slices, lanes).copy()
    while active.size:
        following = visits.column[pointer]
        least = following.min(axis=1)
        if int(least.max(initial=0)) >= columns:
            left = least < columns
            active, pointer = active[left], pointer[left]
            continue
        start = np.minimum(least // align * align, columns - window)
        offset = following - start[:, None]
        taken = offset < window
        rounds.append((active, start, np.where(taken, offset, 0), np.where(taken, pointer, -1)))
        pointer += taken
    return _assemble(rounds, visits, slices, lanes, multiple, order)


class _Visits:
    """The columns that each lane visits, one lane after the other.

    Attributes
    ----------
    column, source
        Ascending columns of a lane and their flat indices in the mask, with one entry behind each
        lane whose column is past every mask.
    first
        Where each lane begins.
    """

    def __init__(
        self,
        mask: npt.NDArray[np.bool_],
        counts: npt.NDArray[np.integer],
        places: int,
        order: Order | None,
    ) -> None:
        rows, columns = mask.shape
        row_of_place = np.full(places, rows)
        row_of_place[:rows] = np.arange(rows)
        if order is not None:
            row_of_place = order.astype(np.int64)
        place_of_row = np.zeros(rows + 1, dtype=np.int64)
        place_of_row[row_of_place] = np.arange(places)
        lengths = np.append(counts, 0)[row_of_place] + 1
        self.first = np.cumsum(lengths) - lengths
        flat = np.flatnonzero(mask)
        row = np.repeat(np.arange(rows), counts)
        rank = np.arange(flat.size) - np.repeat(np.cumsum(counts) - counts, counts)
        at = self.first[place_of_row[row]] + rank
        self.column = np.full(flat.size + places, np.iinfo(np.int32).max, dtype=np.int32)
        self.source = np.full(flat.size + places, -1, dtype=np.int64)
        self.column[at] = flat - row * columns
        self.source[at] = flat


def _assemble(
    rounds: list[tuple[npt.NDArray[np.integer], ...]],
    visits: _Visits,
    slices: int,
    lanes: int,
    multiple: int,
    order: Order | None,
) -> WindowedEntries:
    """Put the steps of every round, one of each active slice, behind each other slice by slice."""
    steps = np.zeros(slices, dtype=np.int64)
    for active, *_ in rounds:
        steps[active] += 1
    steps += -steps % multiple
    bases = np.concatenate([[0], np.cumsum(steps)])
    windows = np.zeros(int(bases[-1]), dtype=np.int32)
    offsets = np.zeros((int(bases[-1]), lanes), dtype=np.uint8)
    source = np.full((int(bases[-1]), lanes), -1, dtype=np.int64)
    for number, (active, start, offset, pointer) in enumerate(rounds):
        at = bases[active] + number
        windows[at] = start
        offsets[at] = offset
        source[at] = np.where(pointer >= 0, visits.source[pointer], -1)
    return WindowedEntries(
        source=source,
        bases=bases.astype(np.int32),
        order=order,
        windows=windows,
        offsets=offsets,
    )
