"""What the entries of a weight are, before a storage form writes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen.slices import SlicedEntries, full_slices, slice_rows
from dcc.codegen.weight_matrix import WeightMatrix

Array = npt.NDArray[np.generic]


def lay_out(
    weight: WeightMatrix, lanes: int, gap_bits: int | None, *, sort: bool = False
) -> SlicedEntries:
    """Lay out the non-zeros of ``weight``, or every column where ``gap_bits`` is None."""
    if gap_bits is None or weight.mask is None:
        return full_slices(weight.rows, weight.columns, lanes)
    return slice_rows(weight.mask, lanes, gap_bits, sort=sort)


def gather(source: Array, entries: SlicedEntries, fill: float) -> Array:
    """Values of ``source`` (flat) at each entry; ``fill`` for fillers and padding."""
    if not source.size:
        return np.full(entries.source.shape, fill, dtype=source.dtype)
    taken = source[np.maximum(entries.source, 0)]
    return np.where(entries.source >= 0, taken, source.dtype.type(fill))


def index_arrays(entries: SlicedEntries) -> dict[str, Array]:
    """Return the arrays that find the rows: ``order`` where the rows have one, and ``bases``."""
    order = {} if entries.order is None else {"order": entries.order}
    return {**order, "bases": entries.bases}
