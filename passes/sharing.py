"""Codes and codebook of a weight: the one canonical pair for each dense weight (numpy only).

Canonical means that the same dense weight always has the same codes, whether they were found in the
weight, came out of k-means or were read from a container: the codebook holds the distinct values
that occur, in the order of their bits, behind the exact zero where the weight has one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen.codebook import best_code_bits, kmeans
from dcc.passes.options import LayerOptions
from dcc.passes.weight_table import Array

MAX_ENTRIES = 256
SAMPLE = 65536

Mask = npt.NDArray[np.bool_]
Shared = tuple[npt.NDArray[np.uint8], Array]


def share_distinct(weight: Array, mask: Mask | None) -> Shared | None:
    """Codes and codebook of the values that are there, bit for bit: NaN is a value like others.

    Parameters
    ----------
    weight
        Any shape.
    mask
        False where the weight counts as zero; None where it has no zeros.

    Returns
    -------
    tuple or None
        Codes (uint8, the weight's shape, 0 outside of the mask) and codebook; None where there are
        more than 256 values or the codebook would cost more bytes than it saves.
    """
    kept = weight[mask] if mask is not None else weight.ravel()
    bits = _bits(kept)
    distinct = np.unique(bits[:SAMPLE])
    if distinct.size + (mask is not None) <= MAX_ENTRIES:
        distinct = np.unique(bits)
    if not _pays(distinct, kept.size, mask is not None):
        return None
    numbers = np.searchsorted(distinct, bits) + (mask is not None)
    codes = np.zeros(weight.shape, dtype=np.uint8)
    codes[mask if mask is not None else np.ones(weight.shape, dtype=np.bool_)] = numbers
    return codes, _with_zero(distinct.view(weight.dtype), mask is not None)


def regroup(codes: npt.NDArray[np.uint8], codebook: Array) -> tuple[Mask | None, Shared | None]:
    """Find the mask and :func:`share_distinct` of ``codebook[codes]``, without decoding it."""
    nonzero = (codebook != 0)[codes]
    mask = None if nonzero.all() else nonzero
    counts = np.bincount(codes.ravel(), minlength=codebook.size)
    used = np.flatnonzero((counts > 0) & (codebook != 0))
    distinct, numbers = np.unique(_bits(codebook[used]), return_inverse=True)
    if not _pays(distinct, int(np.count_nonzero(nonzero)), mask is not None):
        return mask, None
    new = np.zeros(codebook.size, dtype=np.uint8)
    new[used] = numbers + (mask is not None)
    return mask, (new[codes], _with_zero(distinct.view(codebook.dtype), mask is not None))


def cluster(
    weight: Array,
    mask: Mask | None,
    options: LayerOptions,
    importance: npt.NDArray[np.floating] | None = None,
) -> tuple[npt.NDArray[np.uint8], Array] | None:
    """k-means with at most ``2**bits`` values, zero among them where there is a mask.

    Han, Mao, Dally 2016, section 3; weighted by ``importance``, one number for each element of the
    weight, where there is one (Choi, El-Khamy, Lee 2017). None where no number of bits saves bytes.
    Precondition: the weight is finite.
    """
    assert options.bits is not None
    kept = weight[mask] if mask is not None else weight.ravel()
    bits = best_code_bits(kept.size, options.bits, kept.dtype.itemsize)
    entries = (1 << bits) - (mask is not None) if bits is not None else 0
    if entries < 1:
        return None
    counted = None if importance is None else importance.reshape(weight.shape)
    if counted is not None:
        counted = counted[mask] if mask is not None else counted.ravel()
    centroids, assignment = kmeans(kept, entries, options.initialization, options.seed, counted)
    codes = np.zeros(weight.shape, dtype=np.uint8)
    every = np.ones(weight.shape, dtype=np.bool_)
    codes[every if mask is None else mask] = assignment + (mask is not None)
    return codes, _with_zero(centroids.astype(weight.dtype), mask is not None)


def _pays(distinct: Array, kept: int, masked: bool) -> bool:
    """Whether a codebook of ``distinct`` for ``kept`` weights is allowed and saves bytes."""
    entries = distinct.size + masked
    width = max(int(entries - 1).bit_length(), 1)
    saved = kept * (8 * distinct.dtype.itemsize - width) // 8
    return entries <= MAX_ENTRIES and distinct.nbytes <= saved


def _bits(values: Array) -> Array:
    """Values as integers of their size: equal bits, equal values."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _with_zero(values: Array, masked: bool) -> Array:
    zero = np.zeros(1, dtype=values.dtype)
    return np.concatenate([zero, values]) if masked else values
