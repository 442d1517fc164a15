"""The uncoded storage forms of rows that are split over lanes (``codegen.row_split``).

Arrays in the order of the kernel's parameters (S slices of L parts, T steps of all slices):

=========  ======================================================================================
codebook   ``codes`` (S, words, L) uint32, the codes of a part's columns (``code_grid``);
           ``codebook``
sparse     ``order`` (blocks * rows of a block) where rows have one, ``bases`` (S + 1),
           ``origins`` (parts), ``entries`` (T / steps of a load, L, words of a load) uint32, whose
           words hold 4 entries of 8 or 2 of 16 bits, ``gap << code_bits | code``, the first one
           lowest; ``codebook``.
           Without a codebook ``gaps`` (T, L) and ``values`` (T, L) instead of both
huffman    as of whole rows, with ``origins`` behind ``bases``; its stream is that of
           ``codegen.thread_streams``
=========  ======================================================================================
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen.code_grid import code_width, codes_per_word, pack_codes
from dcc.codegen.encoded_tensor import StorageBytes
from dcc.codegen.entry_layout import Array, gather, index_arrays, lay_out_packed
from dcc.codegen.packed_sparse import columns_and_values
from dcc.codegen.packed_weight import PackedWeight
from dcc.codegen.packing import Packing
from dcc.codegen.row_split import RowSplit, SplitEntries, split_columns
from dcc.codegen.weight_matrix import Form, WeightMatrix

WORD_BYTES = 4


def pack_split(weight: WeightMatrix, form: Form, packing: Packing) -> PackedWeight:
    """Lay ``weight`` out in one of the forms ``codebook`` and ``sparse``."""
    if form == "codebook":
        return _pack_codebook(weight, packing)
    if weight.codebook is None:
        return _pack_values(weight, packing)
    return _pack_entries(weight, packing)


def entry_bytes(code_bits: int, gap_bits: int | None) -> int:
    """Bytes of an entry of gap and code."""
    return max((code_bits + (gap_bits or 0) + 7) // 8, 1)


def join_entries(
    entries: npt.NDArray[np.integer], size: int, load_words: int
) -> npt.NDArray[np.uint32]:
    """Join entries (steps, lanes) of ``size`` bytes to words (loads, lanes, words of a load)."""
    count = WORD_BYTES // size
    lanes = entries.shape[1]
    parts = entries.astype(np.uint32).reshape(-1, load_words, count, lanes)
    shifts = np.arange(count, dtype=np.uint32) * np.uint32(8 * size)
    words = np.bitwise_or.reduce(parts << shifts[:, None], axis=2)
    return np.ascontiguousarray(words.transpose(0, 2, 1)).reshape(-1, lanes, load_words)


def entries_of_words(words: npt.NDArray[np.uint32], size: int) -> npt.NDArray[np.int64]:
    """Inverse of :func:`join_entries`."""
    count = WORD_BYTES // size
    loads, lanes, load_words = words.shape
    shifts = np.arange(count) * (8 * size)
    parts = words.astype(np.int64)[..., None] >> shifts & ((1 << 8 * size) - 1)
    return parts.transpose(0, 2, 3, 1).reshape(loads * load_words * count, lanes)


def _pack_codebook(weight: WeightMatrix, packing: Packing) -> PackedWeight:
    assert weight.codes is not None
    assert weight.codebook is not None
    split = RowSplit.of(packing, weight.columns, codes_per_word(weight.code_bits))
    entries = split_columns(weight.rows, weight.columns, split, packing.lanes)
    codes = gather(weight.codes.ravel(), entries, 0).astype(weight.codes.dtype)
    codes = codes.reshape(-1, split.width, packing.lanes)
    words = pack_codes(codes, weight.code_bits)
    used = -(-weight.grid.size * code_width(weight.code_bits) // 8)
    nbytes = StorageBytes(used, 0, weight.codebook.nbytes, 0, words.nbytes - used)
    return PackedWeight(
        "codebook",
        weight.rows,
        weight.columns,
        packing.lanes,
        {"codes": words, "codebook": weight.codebook},
        nbytes,
        symbols=("codes",),
        code_bits=weight.code_bits,
        split=split,
        reach=entries.reach,
    )


def _sparse(
    weight: WeightMatrix,
    packing: Packing,
    entries: SplitEntries,
    gap_bits: int | None,
    arrays: dict[str, Array],
    symbols: tuple[str, ...],
    nbytes: StorageBytes,
    multiple: int = 1,
) -> PackedWeight:
    every = 1 if gap_bits is not None else multiple
    return PackedWeight(
        "sparse",
        weight.rows,
        weight.columns,
        packing.lanes,
        arrays,
        nbytes,
        symbols,
        gap_bits,
        weight.code_bits,
        split=RowSplit.of(packing, weight.columns, every),
        reach=entries.reach,
    )


def _laid_out(
    weight: WeightMatrix, packing: Packing, gap_bits: int | None, multiple: int
) -> SplitEntries:
    entries = lay_out_packed(weight, packing, gap_bits, multiple)
    assert isinstance(entries, SplitEntries)
    return entries


def _pack_entries(weight: WeightMatrix, packing: Packing) -> PackedWeight:
    """Pack gap and code of an entry together, in 8 or 16 bits."""
    assert weight.codes is not None
    assert weight.codebook is not None
    candidates = []
    for size, gap_bits in _entry_widths(weight, packing):
        multiple = WORD_BYTES // size * packing.load_words
        candidates.append((size, gap_bits, _laid_out(weight, packing, gap_bits, multiple)))
    size, gap_bits, entries = min(candidates, key=lambda c: c[2].gaps.size * c[0])
    codes = gather(weight.codes.ravel(), entries, 0).astype(np.int64)
    joint = entries.gaps.astype(np.int64) << weight.code_bits | codes
    words = join_entries(joint, size, packing.load_words)
    arrays = index_arrays(entries)
    found = sum(array.nbytes for array in arrays.values())
    used = int(np.count_nonzero(entries.source >= 0)) * size
    weights = used * weight.code_bits // (8 * size)
    nbytes = StorageBytes(
        weights, used - weights + found, weight.codebook.nbytes, 0, words.nbytes - used
    )
    arrays |= {"entries": words, "codebook": weight.codebook}
    multiple = WORD_BYTES // size * packing.load_words
    return _sparse(weight, packing, entries, gap_bits, arrays, ("entries",), nbytes, multiple)


def _entry_widths(weight: WeightMatrix, packing: Packing) -> list[tuple[int, int | None]]:
    """Bytes of an entry and bits of its gap that are worth counting."""
    if weight.mask is None:
        return [(1, None)]
    widths = [(size, 8 * size - weight.code_bits) for size in (1, 2)]
    fitting: list[tuple[int, int | None]] = [(size, bits) for size, bits in widths if bits > 0]
    asked = packing.gap_bits or 0
    return [width for width in fitting if (width[1] or 0) >= asked] or fitting[-1:]


def _pack_values(weight: WeightMatrix, packing: Packing) -> PackedWeight:
    """Pack raw values, and their gaps where there are any."""
    gap_bits = None if weight.mask is None else 16 if weight.density < 1 / 64 else 8
    entries = _laid_out(weight, packing, gap_bits, 1)
    gaps: dict[str, Array] = {}
    if gap_bits is not None:
        gaps["gaps"] = entries.gaps.astype(f"u{gap_bits // 8}")
    arrays, symbols, nbytes = columns_and_values(weight, entries, gaps)
    return _sparse(weight, packing, entries, gap_bits, arrays, symbols, nbytes)
