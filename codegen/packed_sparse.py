"""The sparse form: entries of gap and code, or gaps beside raw values, in whole bytes."""

from __future__ import annotations

import numpy as np

from dcc.codegen.encoded_tensor import StorageBytes
from dcc.codegen.entry_layout import Array, gather, index_arrays, lay_out
from dcc.codegen.packed_weight import PackedWeight
from dcc.codegen.packing import Packing
from dcc.codegen.slices import SlicedEntries
from dcc.codegen.weight_matrix import WeightMatrix


def pack_sparse(weight: WeightMatrix, packing: Packing) -> PackedWeight:
    """Lay ``weight`` out in slices of ``packing.lanes`` rows.

    Entries have 8 or 16 bits, whichever takes fewer bytes with its fillers.
    """
    extra = 0 if weight.codebook is not None else weight.dtype.itemsize
    widths: list[tuple[int | None, int]] = [(8 * size - weight.code_bits, size) for size in (1, 2)]
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


def _gaps_and_values(
    weight: WeightMatrix, entries: SlicedEntries, gap_bits: int | None, dtype: np.dtype[np.generic]
) -> _SparseArrays:
    """Raw values, and their gaps where there are any."""
    assert weight.values is not None
    arrays = index_arrays(entries)
    indices = sum(array.nbytes for array in arrays.values())
    kept = int(np.count_nonzero(entries.source >= 0))
    values = gather(weight.values.ravel(), entries, 0)
    used = kept * values.itemsize
    padding = values.nbytes - used
    if gap_bits is not None:
        arrays["gaps"] = entries.gaps.astype(dtype)
        indices += kept * dtype.itemsize
        padding += arrays["gaps"].nbytes - kept * dtype.itemsize
    symbols = () if gap_bits is None else ("gaps",)
    return arrays | {"values": values}, symbols, StorageBytes(used, indices, 0, 0, padding)
