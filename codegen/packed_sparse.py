"""The sparse form: entries of column and code, or columns beside raw values, in whole bytes.

A column is a gap from the entry before, or an offset in the window of its step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dcc.codegen.encoded_tensor import StorageBytes
from dcc.codegen.entry_layout import (
    Array,
    fits_windows,
    gather,
    index_arrays,
    lay_out,
    lay_out_windows,
)
from dcc.codegen.packed_weight import PackedWeight, steps_of_word
from dcc.codegen.packing import Packing
from dcc.codegen.slices import Entries, SlicedEntries
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.codegen.windows import WindowedEntries


def pack_sparse(weight: WeightMatrix, packing: Packing) -> PackedWeight:
    """Lay ``weight`` out in slices of ``packing.lanes`` rows.

    Entries with gaps have 8 or 16 bits, whichever takes fewer bytes with its fillers; with
    ``packing.gap_bits`` as many as hold such gaps.
    """
    if fits_windows(weight, packing.window):
        return _pack_windows(weight, packing)
    extra = 0 if weight.codebook is not None else weight.dtype.itemsize
    widths: list[tuple[int | None, int]] = [(8 * size - weight.code_bits, size) for size in (1, 2)]
    if packing.gap_bits is not None:
        wide = [(bits, size) for bits, size in widths if (bits or 0) >= packing.gap_bits]
        widths = wide[:1] or widths[-1:]
    if weight.mask is None:
        widths = [(None, 1)]
    lanes, sort = packing.lanes, packing.sort
    candidates = [
        (gap_bits, size, lay_out(weight, lanes, gap_bits, sort=sort))
        for gap_bits, size in widths
        if gap_bits != 0
    ]
    gap_bits, size, entries = min(candidates, key=lambda c: c[2].gaps.size * (c[1] + extra))
    make = _joint_entries if weight.codebook is not None else _gaps_and_values
    arrays, symbols, nbytes = make(weight, entries, gap_bits, np.dtype(f"u{size}"))
    return PackedWeight(
        "sparse",
        weight.rows,
        weight.columns,
        lanes,
        arrays,
        nbytes,
        symbols,
        gap_bits,
        weight.code_bits,
    )


def _pack_windows(weight: WeightMatrix, packing: Packing) -> PackedWeight:
    if weight.codebook is not None:
        offset_bits = (packing.window - 1).bit_length()
        together = steps_of_word(offset_bits + weight.code_bits)
        entries = lay_out_windows(weight, packing, multiple=together)
        arrays, symbols, nbytes = _words_of_steps(weight, entries, offset_bits, together)
    else:
        entries = lay_out_windows(weight, packing)
        offsets: dict[str, Array] = {"offsets": entries.offsets}
        arrays, symbols, nbytes = columns_and_values(weight, entries, offsets)
    return PackedWeight(
        "sparse",
        weight.rows,
        weight.columns,
        packing.lanes,
        arrays,
        nbytes,
        symbols,
        code_bits=weight.code_bits,
        window=packing.window,
    )


_SparseArrays = tuple[dict[str, Array], tuple[str, ...], StorageBytes]


def _joint_entries(
    weight: WeightMatrix, entries: SlicedEntries, gap_bits: int | None, dtype: np.dtype[np.generic]
) -> _SparseArrays:
    """One array of gap and code together."""
    assert weight.codes is not None
    assert weight.codebook is not None
    arrays = index_arrays(entries)
    found = sum(array.nbytes for array in arrays.values())
    codes = gather(weight.codes.ravel(), entries, 0).astype(np.int64)
    joint = ((entries.gaps.astype(np.int64) << weight.code_bits) | codes).astype(dtype)
    used = int(np.count_nonzero(entries.source >= 0)) * dtype.itemsize
    width = dtype.itemsize * 8
    weights = used * (width if gap_bits is None else weight.code_bits) // width
    nbytes = StorageBytes(
        weights, used - weights + found, weight.codebook.nbytes, 0, joint.nbytes - used
    )
    return arrays | {"entries": joint, "codebook": weight.codebook}, ("entries",), nbytes


def _words_of_steps(
    weight: WeightMatrix, entries: WindowedEntries, offset_bits: int, together: int
) -> _SparseArrays:
    """Offsets and codes of ``together`` steps in a word."""
    assert weight.codes is not None
    assert weight.codebook is not None
    arrays = index_arrays(entries)
    found = sum(array.nbytes for array in arrays.values())
    codes = gather(weight.codes.ravel(), entries, 0).astype(np.uint32)
    joint = codes << np.uint32(offset_bits) | entries.offsets
    width = 32 // together
    words = joint[::together].copy()
    for part in range(1, together):
        words |= joint[part::together] << np.uint32(width * part)
    used = int(np.count_nonzero(entries.source >= 0)) * width // 8
    weights = used * weight.code_bits // width
    nbytes = StorageBytes(
        weights, used - weights + found, weight.codebook.nbytes, 0, words.nbytes - used
    )
    return arrays | {"entries": words, "codebook": weight.codebook}, ("entries",), nbytes


def _gaps_and_values(
    weight: WeightMatrix, entries: SlicedEntries, gap_bits: int | None, dtype: np.dtype[np.generic]
) -> _SparseArrays:
    """Raw values, and their gaps where there are any."""
    gaps: dict[str, Array] = {} if gap_bits is None else {"gaps": entries.gaps.astype(dtype)}
    return columns_and_values(weight, entries, gaps)


def columns_and_values(
    weight: WeightMatrix, entries: Entries, columns: Mapping[str, Array]
) -> _SparseArrays:
    """Raw values beside an array that says their columns, or none."""
    assert weight.values is not None
    arrays = index_arrays(entries)
    indices = sum(array.nbytes for array in arrays.values())
    kept = int(np.count_nonzero(entries.source >= 0))
    values = gather(weight.values.ravel(), entries, 0)
    used = kept * values.itemsize
    padding = values.nbytes - used
    for array in columns.values():
        indices += kept * array.itemsize
        padding += array.nbytes - kept * array.itemsize
    nbytes = StorageBytes(used, indices, 0, 0, padding)
    return {**arrays, **columns, "values": values}, tuple(columns), nbytes
