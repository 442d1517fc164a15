"""Which weights to keep: magnitude, per layer or over the model, single, N of M, or in blocks.

Numpy only. ``axis`` is the weight's reduction axis: the inputs that an output sums over.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.errors import RecipeError
from dcc.passes.options import LayerOptions

Mask = npt.NDArray[np.bool_]
Weight = npt.NDArray[np.floating]


def nonzero_mask(weight: Weight) -> Mask:
    """Return the mask of the zeros that are already there; -0.0 counts as zero."""
    return np.asarray(weight != 0)


def _magnitudes(weight: Weight) -> Weight:
    """Return absolute values in a flat copy that can be ordered: NaN counts as the largest."""
    narrow = weight.dtype.itemsize < 4  # numpy orders no bfloat16
    magnitudes = np.abs(weight.astype(np.float32) if narrow else weight).ravel()
    magnitudes[np.isnan(magnitudes)] = np.inf
    return np.asarray(magnitudes)


def magnitude_mask(weight: Weight, density: float) -> Mask:
    """Keep the ``density`` of largest magnitude.

    Exactly ``round(density * size)`` weights are kept, except that no zero is. Ties are broken by
    position, so the same weight gives the same mask.
    """
    keep = round(density * weight.size)
    if keep == 0:
        return np.zeros(weight.shape, dtype=np.bool_)
    magnitude = _magnitudes(weight)
    threshold = np.partition(magnitude, magnitude.size - keep)[magnitude.size - keep]
    mask = magnitude > threshold
    ties = np.flatnonzero(magnitude == threshold)
    mask[ties[: keep - np.count_nonzero(mask)]] = True
    return mask.reshape(weight.shape) & nonzero_mask(weight)


def threshold_mask(weight: Weight, threshold: float) -> Mask:
    """Keep what is at least ``threshold`` in magnitude."""
    return (_magnitudes(weight) >= threshold).reshape(weight.shape) & nonzero_mask(weight)


def deviation(weight: Weight) -> float:
    """Return the standard deviation, the unit of a recipe's ``threshold``."""
    return float(np.std(weight.astype(np.float64))) if weight.size else 0.0


def global_threshold(weights: list[Weight], density: float) -> float:
    """Return the magnitude that keeps the ``density`` of all ``weights`` together."""
    magnitudes = np.concatenate([_magnitudes(weight) for weight in weights])
    keep = round(density * magnitudes.size)
    if keep == 0:
        return float("inf")
    return float(np.partition(magnitudes, magnitudes.size - keep)[magnitudes.size - keep])


def n_of_m_mask(weight: Weight, n: int, m: int, axis: int) -> Mask:
    """Keep the ``n`` largest of every ``m`` neighbours along ``axis``.

    A last, shorter group keeps ``n``, too.
    """
    moved = np.moveaxis(weight, axis, -1)
    length = moved.shape[-1]
    # Below every magnitude, so that the filling of a last group never takes a place from a weight.
    padded = np.full(
        (*moved.shape[:-1], -(-length // m) * m), -1, dtype=_magnitudes(moved[:0]).dtype
    )
    padded[..., :length] = _magnitudes(moved).reshape(moved.shape)
    groups = padded.reshape(*padded.shape[:-1], -1, m)
    order = np.argsort(-groups, axis=-1, kind="stable")
    mask = np.zeros(groups.shape, dtype=np.bool_)
    np.put_along_axis(mask, order[..., :n], True, axis=-1)
    kept = mask.reshape(padded.shape)[..., :length]
    return np.moveaxis(kept, -1, axis) & nonzero_mask(weight)


def block_mask(weight: Weight, density: float, block: tuple[int, int], axis: int) -> Mask:
    """Keep the blocks of largest norm; the weight is seen as (outputs, what each sums over)."""
    matrix = _outputs_first(weight, axis)
    rows, columns = (-(-size // step) for size, step in zip(matrix.shape, block, strict=True))
    padded = np.zeros((rows * block[0], columns * block[1]), dtype=np.float64)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    norms = (padded.reshape(rows, block[0], columns, block[1]) ** 2).sum(axis=(1, 3))
    kept = magnitude_mask(norms, density)
    spread = np.repeat(np.repeat(kept, block[0], axis=0), block[1], axis=1)
    mask = np.zeros(weight.shape, dtype=np.bool_)
    positions = _outputs_first(np.arange(weight.size).reshape(weight.shape), axis)
    mask.reshape(-1)[positions] = spread[: matrix.shape[0], : matrix.shape[1]]
    return np.asarray(mask & nonzero_mask(weight))


def channel_block_mask(weight: Weight, density: float, block: tuple[int, int], axis: int) -> Mask:
    """Keep the blocks of largest norm at each position of a kernel (outputs, inputs, ...).

    Weights without positions have the blocks of :func:`block_mask`.
    """
    if weight.ndim < 3:
        return block_mask(weight, density, block, axis)
    grid = weight.reshape(*weight.shape[:2], -1)
    rows, columns = (-(-size // step) for size, step in zip(grid.shape[:2], block, strict=True))
    padded = np.zeros((rows * block[0], columns * block[1], grid.shape[2]), dtype=np.float64)
    padded[: grid.shape[0], : grid.shape[1]] = grid
    norms = (padded.reshape(rows, block[0], columns, block[1], -1) ** 2).sum(axis=(1, 3))
    kept = magnitude_mask(norms, density)
    spread = np.repeat(np.repeat(kept, block[0], axis=0), block[1], axis=1)
    mask = spread[: grid.shape[0], : grid.shape[1]].reshape(weight.shape)
    return np.asarray(mask & nonzero_mask(weight))


def _outputs_first(array: npt.NDArray[np.generic], axis: int) -> npt.NDArray[np.generic]:
    """Bring a weight into the shape (outputs, what each sums over)."""
    if axis == array.ndim - 1:
        return array.reshape(-1, array.shape[-1])
    if axis == 0:
        return array.reshape(array.shape[0], -1).T
    return array.reshape(array.shape[0], -1)


def mask_for(weight: Weight, options: LayerOptions, threshold: float | None, axis: int) -> Mask:
    """Return the mask of one weight as its options say.

    Parameters
    ----------
    weight
        Any shape.
    options
        What the recipe says.
    threshold
        The model's magnitude where the scope is global, else None.
    axis
        The weight's reduction axis.

    Raises
    ------
    RecipeError
        n and m of the structure n:m do not go together.
    """
    if options.structure == "n:m":
        if not 0 < options.n <= options.m:
            raise RecipeError(f"structure n:m needs 0 < n <= m, got {options.n}:{options.m}")
        return n_of_m_mask(weight, options.n, options.m, axis)
    if options.threshold is not None:
        return threshold_mask(weight, options.threshold * deviation(weight))
    if options.density is None:
        return nonzero_mask(weight)
    if options.structure == "block" and weight.ndim > 1:
        return block_mask(weight, options.density, options.block, axis)
    if options.structure == "channel-block" and weight.ndim > 1:
        return channel_block_mask(weight, options.density, options.block, axis)
    if threshold is not None:
        return threshold_mask(weight, threshold)
    return magnitude_mask(weight, options.density)
