"""Codebooks: one-dimensional k-means (Han et al. 2016, section 3).

Lloyd's iterations run on sorted values: a cluster is a slice, its mean comes from prefix sums and
its borders from a binary search, so an iteration costs a few searches however many values there
are, and the result equals plain Lloyd's. Exact zero is kept apart by the caller.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dcc.errors import EncodingError

Initialization = Literal["linear", "density", "random"]

#: Codes are bytes.
MAX_ENTRIES = 256
_ITERATIONS = 1000
_CHUNK = 1 << 20


def kmeans(
    values: np.ndarray,
    entries: int,
    initialization: Initialization = "linear",
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster ``values`` around at most ``entries`` centroids.

    Parameters
    ----------
    values
        Finite floats of any shape.
    entries
        Upper bound of centroids, 1 to 256. Where the values have fewer distinct ones, these are the
        centroids.
    initialization
        ``linear`` spaces the first centroids evenly between the extremes, ``density`` evenly over
        the distribution, ``random`` draws them from the values (``seed``).
    weights
        How much each value counts, shape of ``values``, non-negative; None: all alike.

    Returns
    -------
    centroids
        Ascending and distinct, of the dtype of ``values``; at most ``entries``.
    assignment
        ``uint8``, shape of ``values``: index of the nearest centroid.

    Raises
    ------
    EncodingError
        If a value is not finite or an argument is out of range.
    """
    if not 1 <= entries <= MAX_ENTRIES:
        raise EncodingError(f"codebook: {entries} entries, expected 1 to {MAX_ENTRIES}")
    flat = _comparable(values)
    if not len(flat):
        return np.empty(0, dtype=values.dtype), np.empty(values.shape, dtype=np.uint8)
    order = None if weights is None else np.argsort(flat, kind="stable")
    ascending = np.sort(flat) if order is None else flat[order]
    if not (np.isfinite(ascending[0]) and np.isfinite(ascending[-1])):
        raise EncodingError(
            "codebook: the weights hold NaN or infinity; keep this tensor raw (bits: null)"
        )
    distinct = ascending[np.flatnonzero(np.diff(ascending, prepend=np.nan))]
    if len(distinct) > entries:
        counted = None if weights is None or order is None else weights.reshape(-1)[order]
        start = _first_centroids(ascending, entries, initialization, seed)
        centroids = _lloyd(ascending, start, counted)
    else:
        centroids = distinct.astype(np.float64)
    # Rounding to the storage type may join two; the assignment is made for the centroids that are
    # stored.
    stored = np.unique(centroids.astype(values.dtype).astype(flat.dtype))
    return stored.astype(values.dtype), assign(flat, stored).reshape(values.shape)


def assign(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Index (``uint8``) of the nearest of the ascending ``centroids``, of two as near the upper."""
    flat = values.reshape(-1)
    borders = _borders(centroids.astype(np.float64))
    assignment = np.empty(len(flat), dtype=np.uint8)
    for start in range(0, len(flat), _CHUNK):
        chunk = flat[start : start + _CHUNK].astype(np.float64)
        assignment[start : start + _CHUNK] = np.searchsorted(borders, chunk, side="right")
    return assignment.reshape(values.shape)


def best_code_bits(count: int, bits: int, itemsize: int) -> int | None:
    """Largest width of codes up to ``bits`` whose codebook does not cost more bytes than it saves.

    ``count`` weights of ``itemsize`` bytes save ``count * (8 * itemsize - b) / 8`` bytes with
    ``b``-bit codes, and the codebook costs ``2**b * itemsize``. None: no width pays.
    """
    for width in range(min(bits, 8), 0, -1):
        if 8 * (itemsize << width) <= count * (8 * itemsize - width):
            return width
    return None


def _comparable(values: np.ndarray) -> np.ndarray:
    """Flat values in a type that numpy sorts fast."""
    wide = values.dtype if values.dtype in (np.float32, np.float64) else np.float32
    return np.ascontiguousarray(values).reshape(-1).astype(wide, copy=False)


def _first_centroids(
    ascending: np.ndarray, entries: int, initialization: str, seed: int
) -> np.ndarray:
    if initialization == "linear":
        return np.linspace(float(ascending[0]), float(ascending[-1]), entries)
    if initialization == "density":
        middle = (np.arange(entries) + 0.5) / entries * len(ascending)
        return ascending[middle.astype(np.int64)].astype(np.float64)
    if initialization == "random":
        generator = np.random.default_rng(seed)
        drawn = generator.choice(len(ascending), size=entries, replace=False)
        return np.sort(ascending[drawn]).astype(np.float64)
    raise EncodingError(
        f"codebook: initialization {initialization!r}, expected linear, density or random"
    )


def _lloyd(ascending: np.ndarray, centroids: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Iterate to the fixed point; clusters that run empty are dropped at the end."""
    mass = None if weights is None else _prefix(weights)
    moment = _prefix(ascending if weights is None else ascending * weights.astype(np.float64))
    splits = np.empty(0, dtype=np.int64)
    for _ in range(_ITERATIONS):
        previous = splits
        borders = _borders(centroids)
        splits = np.concatenate([[0], _split(ascending, borders), [len(ascending)]])
        if np.array_equal(previous, splits):
            break
        counts = np.diff(splits if mass is None else mass[splits])
        filled = counts > 0
        centroids = centroids.copy()
        centroids[filled] = np.diff(moment[splits])[filled] / counts[filled]
        centroids = np.sort(centroids)  # an empty cluster may be overtaken by its neighbours
    return centroids[np.diff(splits) > 0]


def _split(ascending: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """First index whose value reaches each border, without widening all values to float64."""
    narrow = borders.astype(ascending.dtype)
    below = (
        narrow.astype(np.float64) < borders
    )  # rounded down: values equal to it lie below the border
    narrow[below] = np.nextafter(narrow[below], np.asarray(np.inf, dtype=ascending.dtype))
    return np.searchsorted(ascending, narrow, side="left")


def _prefix(values: np.ndarray) -> np.ndarray:
    sums = np.empty(len(values) + 1, dtype=np.float64)
    sums[0] = 0.0
    np.cumsum(values, dtype=np.float64, out=sums[1:])
    return sums


def _borders(centroids: np.ndarray) -> np.ndarray:
    return centroids[:-1] + np.diff(centroids) / 2
