"""What the entries of a weight are, before a storage form writes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen.packing import Packing
from dcc.codegen.row_split import RowSplit, SplitEntries, split_columns, split_rows
from dcc.codegen.slices import Entries, SlicedEntries, full_slices, slice_rows
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.codegen.windows import WindowedEntries, window_rows

Array = npt.NDArray[np.generic]


def lay_out(
    weight: WeightMatrix,
    lanes: int,
    gap_bits: int | None,
    *,
    sort: bool = False,
    multiple: int = 1,
) -> SlicedEntries:
    """Lay out the non-zeros of ``weight``, or every column where ``gap_bits`` is None.

    Slices of non-zeros get a multiple of ``multiple`` steps.
    """
    if gap_bits is None or weight.mask is None:
        return full_slices(weight.rows, weight.columns, lanes)
    return slice_rows(weight.mask, lanes, gap_bits, sort=sort, multiple=multiple)


def lay_out_packed(
    weight: WeightMatrix, packing: Packing, gap_bits: int | None, multiple: int = 1
) -> SlicedEntries:
    """Lay the entries of ``weight`` out as ``packing`` asks: rows whole or split over lanes."""
    lanes, sort = packing.lanes, packing.sort
    if not packing.segments:
        return lay_out(weight, lanes, gap_bits, sort=sort, multiple=multiple)
    if gap_bits is None or weight.mask is None:
        split = RowSplit.of(packing, weight.columns, multiple)
        return split_columns(weight.rows, weight.columns, split, lanes)
    split = RowSplit.of(packing, weight.columns)
    return split_rows(weight.mask, split, lanes, gap_bits, sort=sort, multiple=multiple)


def fits_windows(weight: WeightMatrix, window: int) -> bool:
    """Whether a weight can be packed in windows: something is skipped, and a window is there."""
    return weight.mask is not None and 0 < window <= weight.columns


def lay_out_windows(weight: WeightMatrix, packing: Packing, multiple: int = 1) -> WindowedEntries:
    """Lay out the non-zeros of ``weight``; slices get a multiple of ``multiple`` steps."""
    assert weight.mask is not None
    return window_rows(
        weight.mask,
        packing.lanes,
        packing.window,
        packing.window_align,
        sort=packing.sort,
        multiple=multiple,
    )


def gather(source: Array, entries: Entries, fill: float) -> Array:
    """Values of ``source`` (flat) at each entry; ``fill`` for fillers and padding."""
    if not source.size:
        return np.full(entries.source.shape, fill, dtype=source.dtype)
    taken = source[np.maximum(entries.source, 0)]
    return np.where(entries.source >= 0, taken, source.dtype.type(fill))


def index_arrays(entries: Entries) -> dict[str, Array]:
    """Return the arrays that find rows and columns.

    ``order`` where the rows have one, ``bases``, ``origins`` of split rows, and ``windows`` where
    there are any.
    """
    arrays: dict[str, Array] = {} if entries.order is None else {"order": entries.order}
    arrays["bases"] = entries.bases
    if isinstance(entries, SplitEntries):
        arrays["origins"] = entries.origins
    if isinstance(entries, WindowedEntries):
        narrow = int(entries.windows.max(initial=0)) < 1 << 16
        arrays["windows"] = entries.windows.astype(np.uint16) if narrow else entries.windows
    return arrays
