"""In which order the rows of a sparse weight stand in its slices.

Rows of similar length share a slice where that saves more padding than the order costs. Slices
then stand so that equal parts of them, which threads take, hold about equal numbers of entries.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.integer]
Order = npt.NDArray[np.unsignedinteger]

SLICES_OF_A_BLOCK = 4
"""Slices that stay neighbours when they are dealt out: those that a kernel runs interleaved."""
IMBALANCE = 1.02
"""Share of the longer half of the slices, over the mean, from which on an order pays."""


def steps_of_slices(counts: Counts, lanes: int, order: Order | None) -> Counts:
    """Count the entries of each slice's longest lane."""
    slices = -(-counts.size // lanes)
    padded = np.zeros(slices * lanes + 1, dtype=np.int64)
    padded[: counts.size] = counts
    if order is not None:
        padded = np.append(counts, 0)[order]
    return padded[: slices * lanes].reshape(slices, lanes).max(axis=1, initial=0)


def row_order(counts: Counts, lanes: int, least_saving: float = 0.0) -> Order | None:
    """Order rows by the numbers of their entries; None where they stay as they are.

    Parameters
    ----------
    least_saving
        Share of the steps that an order has to save; padding that it does not see (of windows)
        saves less than it thinks, and rows in order are stored faster.

    Returns
    -------
    numpy.ndarray or None
        Row of each lane of each slice, the number of rows for lanes without one.
    """
    rows, slices = counts.size, -(-counts.size // lanes)
    order = np.full(slices * lanes, rows, dtype=np.uint32)
    order[:rows] = np.argsort(-counts, kind="stable")
    order = order.reshape(slices, lanes)[dealt(slices)].ravel()
    narrow = order.astype(np.uint16) if rows < 1 << 16 else order
    plain, ordered = (steps_of_slices(counts, lanes, each) for each in (None, order))
    saved = int(plain.sum() - ordered.sum())
    # An entry has at least about a byte.
    pays = saved * lanes > narrow.nbytes and saved > least_saving * int(plain.sum())
    return narrow if pays or _imbalance(plain) > max(IMBALANCE, _imbalance(ordered)) else None


def dealt(slices: int) -> npt.NDArray[np.integer]:
    """Deal slices of falling length out, so that every half, quarter and so on has its share.

    Blocks of slices stand in the order of their reversed binary numbers (0, 4, 2, 6, 1, 5, 3, 7).
    """
    blocks = np.arange(-(-slices // SLICES_OF_A_BLOCK))
    reverse = np.zeros_like(blocks)
    for bit in range(max(int(blocks.size - 1).bit_length(), 0)):
        reverse = reverse << 1 | (blocks >> bit & 1)
    first = np.argsort(reverse, kind="stable")[:, None] * SLICES_OF_A_BLOCK
    places = (first + np.arange(SLICES_OF_A_BLOCK)).ravel()
    return places[places < slices]


def _imbalance(steps: Counts) -> float:
    """Longer half of the slices over the mean of both."""
    half = steps.size // 2
    if half < SLICES_OF_A_BLOCK:
        return 1.0
    first, second = int(steps[:half].sum()), int(steps[-half:].sum())
    return 2 * max(first, second) / max(first + second, 1)
