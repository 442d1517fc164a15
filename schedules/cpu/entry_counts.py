"""How many entries of a packed weight the pixel kernel multiplies, told from the real weight."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen.code_grid import unpack_codes
from dcc.codegen.packed import PackedWeight
from dcc.codegen.unpacking import columns_of_entries
from dcc.schedules.cpu.division import slice_steps

Integers = npt.NDArray[np.int64]


def multiplied_entries(packed: PackedWeight, groups: int, block: int) -> tuple[int, int]:
    """Count the entries up to each lane's last weight: in the first block of columns, and behind.

    Parameters
    ----------
    groups
        Groups of the convolution; the inputs of group ``n`` begin at column ``n * columns``.
    block
        Columns of a block.
    """
    steps = slice_steps(packed)
    kept, columns = _kept_and_columns(packed)
    step = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)
    last = np.full((len(steps), packed.lanes), -1, np.int64)
    filled = np.flatnonzero(steps)
    if len(filled):
        starts = (np.cumsum(steps) - steps)[filled]
        places = np.where(kept, step[:, None], -1)
        last[filled] = np.maximum.reduceat(places, starts, axis=0)
    multiplied = step[:, None] <= np.repeat(last, steps, axis=0)
    if groups > 1:
        columns = columns + np.repeat(_first_columns(packed, groups), steps, axis=0)
    first = int(np.count_nonzero(multiplied & (columns < block)))
    return first, int(np.count_nonzero(multiplied)) - first


def _kept_and_columns(packed: PackedWeight) -> tuple[npt.NDArray[np.bool_], Integers]:
    """Which entries are weights, and their columns, both (steps, lanes)."""
    if packed.form in ("dense", "codebook"):
        if packed.form == "dense":
            values = packed.arrays["values"]
        else:
            words = packed.arrays["codes"].astype(np.uint32)
            values = packed.arrays["codebook"][
                unpack_codes(words, packed.code_bits, packed.columns)
            ]
        kept = (values != 0).reshape(-1, packed.lanes)
        columns = np.tile(np.arange(packed.columns), packed.slices)
        return kept, np.repeat(columns[:, None], packed.lanes, axis=1)
    values, columns = columns_of_entries(packed)
    return values != 0, columns


def _first_columns(packed: PackedWeight, groups: int) -> Integers:
    """Column where the inputs of each lane's output channel begin, (slices, lanes)."""
    places = packed.slices * packed.lanes
    rows = packed.arrays["order"].astype(np.int64) if "order" in packed.arrays else None
    rows = np.arange(places) if rows is None else rows
    group = np.minimum(rows // (packed.rows // groups), groups - 1)
    return (group * packed.columns).reshape(packed.slices, packed.lanes)
