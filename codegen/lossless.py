"""The ways to keep a tensor bit for bit; the caller takes the one of fewest bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dcc.codegen.raw_values import FLOAT_NAMES, bits_of
from dcc.codegen.tensor_parts import TensorParts

_LEVELS = 256  # entries of a codebook
_SURE = 1 << 14  # weights from which on a codebook surely beats raw values
_CHUNK = 1 << 20


def lossless_candidates(array: np.ndarray) -> Iterator[TensorParts]:
    """Yield contents that decode to ``array``; the last resort, raw values, comes first."""
    flat = np.ascontiguousarray(array).reshape(-1)
    shape, dtype = array.shape, array.dtype.name
    raw = TensorParts(shape, dtype, None, None, None, flat)
    if dtype not in FLOAT_NAMES or not flat.size:
        yield raw
        return
    bits = bits_of(flat)
    levels = distinct(bits, _LEVELS + 1)  # -0.0 and 0.0 may both be there
    if levels is None or flat.size < _SURE:
        yield raw
    if levels is not None and len(levels) <= _LEVELS:
        yield _coded(bits, levels, shape, array.dtype)
    kept = (bits & ~_sign_bit(bits.dtype)) != 0  # NaN is kept, -0.0 is not
    dropped = 1 - np.count_nonzero(kept) / flat.size
    # Gaps cost at least a bit for each kept weight, so that few zeros never pay.
    if 8 * array.dtype.itemsize * dropped <= 1 - dropped:
        return
    if levels is None or flat.size < _SURE:
        yield TensorParts(shape, dtype, kept.reshape(shape), None, None, flat[kept])
    if levels is not None:
        nonzero = levels[levels.view(array.dtype) != 0]
        if len(nonzero) < _LEVELS:
            yield _masked_codes(bits, kept, nonzero, shape, array.dtype)


def distinct(bits: np.ndarray, limit: int) -> np.ndarray | None:
    """Distinct bit patterns in the order of their values; None: more than ``limit``."""
    found = np.empty(0, dtype=bits.dtype)
    start, length = 0, 4 * limit
    while start < len(bits):
        chunk = bits[start : start + length]
        found = np.union1d(found, chunk[~np.isin(chunk, found)])
        if len(found) > limit:
            return None
        start += length
        length = _CHUNK
    return found[np.argsort(_sort_key(found), kind="stable")]


def _coded(
    bits: np.ndarray, levels: np.ndarray, shape: tuple[int, ...], dtype: np.dtype
) -> TensorParts:
    codes = _lookup(bits, levels, 0)
    return TensorParts(shape, dtype.name, None, codes.reshape(shape), levels.view(dtype), None)


def _masked_codes(
    bits: np.ndarray, kept: np.ndarray, nonzero: np.ndarray, shape: tuple[int, ...], dtype: np.dtype
) -> TensorParts:
    codes = np.zeros(len(bits), dtype=np.uint8)
    codes[kept] = _lookup(bits[kept], nonzero, 1)
    codebook = np.concatenate([np.zeros(1, dtype=bits.dtype), nonzero]).view(dtype)
    return TensorParts(shape, dtype.name, kept.reshape(shape), codes.reshape(shape), codebook, None)


def _lookup(bits: np.ndarray, levels: np.ndarray, first: int) -> np.ndarray:
    """Index of each pattern in ``levels``, counted from ``first``."""
    order = np.argsort(levels, kind="stable")
    code_of = (order + first).astype(np.uint8)
    ascending = levels[order]
    codes = np.empty(len(bits), dtype=np.uint8)
    for start in range(0, len(bits), _CHUNK):
        chunk = bits[start : start + _CHUNK]
        codes[start : start + _CHUNK] = code_of[np.searchsorted(ascending, chunk)]
    return codes


def _sort_key(bits: np.ndarray) -> np.ndarray:
    """Integers that sort as the floats of these patterns: neighbours have similar counts."""
    sign = _sign_bit(bits.dtype)
    return np.where(bits & sign, ~bits, bits | sign)


def _sign_bit(dtype: np.dtype) -> np.ndarray:
    return np.asarray(1 << (8 * dtype.itemsize - 1), dtype=dtype)
