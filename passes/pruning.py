"""Which weights to keep: magnitude, per layer or over the model, single, N of M, or in blocks (numpy only)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.errors import RecipeError
from dcc.passes.options import LayerOptions

Mask = npt.NDArray[np.bool_]
Weight = npt.NDArray[np.floating]


def nonzero_mask(weight: Weight) -> Mask:
    """Mask of the zeros that are already there; -0.0 counts as zero."""
    return np.asarray(weight != 0)


def magnitude_mask(weight: Weight, density: float) -> Mask:
    """Keep the ``density`` of largest magnitude, exactly ``round(density * size)`` of them; never a zero.

    Ties are broken by position, so the same weight gives the same mask.
    """
    keep = round(density * weight.size)
    mask = np.zeros(weight.size, dtype=np.bool_)
    if keep:
        magnitude = np.abs(weight.ravel())
        mask[np.argsort(-magnitude, kind="stable")[:keep]] = True
    return mask.reshape(weight.shape) & nonzero_mask(weight)


def threshold_mask(weight: Weight, threshold: float) -> Mask:
    """Keep what is at least ``threshold`` in magnitude."""
    return (np.abs(weight) >= threshold) & nonzero_mask(weight)


def global_threshold(weights: list[Weight], density: float) -> float:
    """Magnitude that keeps the ``density`` of all ``weights`` together."""
    magnitudes = np.concatenate([np.abs(weight).ravel() for weight in weights])
    keep = round(density * magnitudes.size)
    if keep == 0:
        return float("inf")
    return float(np.partition(magnitudes, magnitudes.size - keep)[magnitudes.size - keep])


def n_of_m_mask(weight: Weight, n: int, m: int, axis: int) -> Mask:
    """Keep the ``n`` largest of every ``m`` neighbours along ``axis``; a last, shorter group keeps ``n``, too."""
    moved = np.moveaxis(weight, axis, -1)
    length = moved.shape[-1]
    padded = np.zeros((*moved.shape[:-1], -(-length // m) * m), dtype=weight.dtype)
    padded[..., :length] = moved
    groups = np.abs(padded).reshape(*moved.shape[:-1], -1, m)
    order = np.argsort(-groups, axis=-1, kind="stable")
    mask = np.zeros(groups.shape, dtype=np.bool_)
    np.put_along_axis(mask, order[..., :n], True, axis=-1)
    kept = mask.reshape(padded.shape)[..., :length]
    return np.moveaxis(kept, -1, axis) & nonzero_mask(weight)


def block_mask(weight: Weight, density: float, block: tuple[int, int]) -> Mask:
    """Keep the blocks of largest norm; the weight is seen as (first axis, all others)."""
    matrix = weight.reshape(weight.shape[0], -1)
    rows, columns = (-(-size // step) for size, step in zip(matrix.shape, block, strict=True))
    padded = np.zeros((rows * block[0], columns * block[1]), dtype=np.float64)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    norms = (padded.reshape(rows, block[0], columns, block[1]) ** 2).sum(axis=(1, 3))
    kept = magnitude_mask(norms, density)
    spread = np.repeat(np.repeat(kept, block[0], axis=0), block[1], axis=1)
    mask = spread[: matrix.shape[0], : matrix.shape[1]].reshape(weight.shape)
    return np.asarray(mask & nonzero_mask(weight))


def mask_for(weight: Weight, options: LayerOptions, threshold: float | None) -> Mask:
    """Mask of one weight as its options say; ``threshold`` is the model's where the scope is global."""
    if options.structure == "n:m":
        if not 0 < options.n <= options.m:
            raise RecipeError(f"structure n:m needs 0 < n <= m, got {options.n}:{options.m}")
        return n_of_m_mask(weight, options.n, options.m, axis=min(1, weight.ndim - 1))
    if options.density is None:
        return nonzero_mask(weight)
    if options.structure == "block" and weight.ndim > 1:
        return block_mask(weight, options.density, options.block)
    if threshold is not None:
        return threshold_mask(weight, threshold)
    return magnitude_mask(weight, options.density)
