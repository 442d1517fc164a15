"""How the work of the pixel kernel is divided among threads: by tiles of pixels, or by rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.pixel_tiles import PixelTiles


@dataclass(frozen=True)
class Division:
    """Units of work: a range of tiles for a range of slices.

    Attributes
    ----------
    groups
        Ranges of tiles.
    bounds
        First slice of each range of slices, and the number of slices.
    """

    groups: int
    bounds: tuple[int, ...]

    @property
    def chunks(self) -> int:
        """Ranges of slices."""
        return len(self.bounds) - 1


# Relative to one vector multiplied and added, per thread that repeats it.
_FILL_VECTOR = 3.0
_DECODE_ENTRY = {"dense": 0.5, "codebook": 0.7, "sparse": 0.7, "huffman": 5.0}


def divide(packed: PackedWeight, tiles: PixelTiles, threads: int, decoded_bytes: int) -> Division:
    """Divide the work among ``threads``, by tiles or by rows, whichever repeats less.

    Threads that share rows decode them twice, threads that share tiles fill panels twice.
    Decoded entries of a range of slices take at most about ``decoded_bytes``.
    """
    steps = slice_steps(packed)
    least = -(-int(steps.sum()) * packed.lanes * 8 // decoded_bytes)
    least = max(1, min(least, packed.slices))
    uneven = -(-tiles.count // threads) * threads / tiles.count
    entries = max(int(steps.sum()) * packed.lanes, 1)
    by_tiles = uneven * (1 + threads * _DECODE_ENTRY[packed.form] / (tiles.count * tiles.vectors))
    columns = packed.columns * tiles.geometry.groups
    by_rows = 1 + threads * _FILL_VECTOR * columns / entries
    if threads == 1 or packed.slices < threads or by_tiles <= by_rows:
        return Division(min(threads, tiles.count), _balanced(steps, least))
    return Division(1, _balanced(steps, min(-(-least // threads) * threads, packed.slices)))


def slice_steps(packed: PackedWeight) -> np.ndarray:
    """Count the steps of each slice."""
    if "bases" in packed.arrays:
        return np.diff(packed.arrays["bases"].astype(np.int64))
    return np.full(packed.slices, packed.columns, dtype=np.int64)


def _balanced(steps: np.ndarray, chunks: int) -> tuple[int, ...]:
    """Cut slices into ``chunks`` ranges of about as many steps, none empty."""
    ends = np.cumsum(steps + 1)
    wanted = ends[-1] * np.arange(1, chunks) / chunks
    cuts = np.searchsorted(ends, wanted, side="left") + 1
    low = np.arange(1, chunks)
    cuts = np.clip(np.maximum.accumulate(cuts), low, steps.size - chunks + low)
    for place in range(1, len(cuts)):
        cuts[place] = max(cuts[place], cuts[place - 1] + 1)
    return (0, *(int(cut) for cut in cuts), int(steps.size))
