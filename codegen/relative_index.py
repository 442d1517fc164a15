"""Relative indices: where the kept weights are, as gaps (Han et al. 2016, section 2).

Positions are counted from -1. An entry of gap ``f`` moves ``f + 1`` positions on; the gap field has
``gap_bits`` bits. A kept weight further away is reached over fillers: entries with the largest gap
``2**gap_bits - 1`` (so they move ``2**gap_bits`` positions) whose weight is zero, and which
therefore need no special case in a kernel. Zeros behind the last kept weight take no entry.

Example: positions 1, 2, 9 with 2 bits -> gaps 1, 0, 3 (filler, at position 6), 2.
"""

from __future__ import annotations

import numpy as np

from dcc.errors import EncodingError

#: Widest gap field.
MAX_GAP_BITS = 16


def to_entries(positions: np.ndarray, size: int, gap_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Entries for kept ``positions`` (ascending, below ``size``).

    Returns
    -------
    gaps
        ``uint16``, shape ``(entries,)``.
    is_filler
        ``bool``, shape ``(entries,)``; entries that are False are the kept weights, in order.
    """
    if len(positions) and not 0 <= int(positions[0]) <= int(positions[-1]) < size:
        raise EncodingError(f"relative index: positions must lie in 0..{size - 1}")
    return _entries(runs_before(positions), gap_bits)[:2]


def runs_before(positions: np.ndarray) -> np.ndarray:
    """Skipped positions before each kept one: ``int64``, the gap without any limit."""
    return np.diff(positions.astype(np.int64, copy=False), prepend=-1) - 1


def entry_positions(gaps: np.ndarray, size: int) -> np.ndarray:
    """Position of each entry, fillers included: ``int64``, shape ``(entries,)``.

    Raises
    ------
    EncodingError
        If an entry lies beyond ``size``.
    """
    positions = np.cumsum(gaps, dtype=np.int64)
    positions += np.arange(len(gaps), dtype=np.int64)
    if len(positions) and int(positions[-1]) >= size:
        raise EncodingError(
            f"relative index: an entry at {int(positions[-1])} lies beyond the {size} weights"
        )
    return positions


def from_entries(gaps: np.ndarray, is_filler: np.ndarray, size: int) -> np.ndarray:
    """Positions of the kept weights: the inverse of :func:`to_entries`."""
    return entry_positions(gaps, size)[~is_filler]


def _entries(runs: np.ndarray, gap_bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gaps, filler flags and the entry after each kept weight."""
    if not 1 <= gap_bits <= MAX_GAP_BITS:
        raise EncodingError(
            f"relative index: gap width {gap_bits}, expected 1 to {MAX_GAP_BITS} bits"
        )
    largest = (1 << gap_bits) - 1
    ends = np.cumsum((runs >> gap_bits) + 1)
    total = int(ends[-1]) if len(ends) else 0
    gaps = np.full(total, largest, dtype=np.uint16)
    is_filler = np.ones(total, dtype=bool)
    gaps[ends - 1] = runs & largest
    is_filler[ends - 1] = False
    return gaps, is_filler, ends
