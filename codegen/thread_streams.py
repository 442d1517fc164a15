"""Entropy-coded streams of split rows: one a lane, word by word side by side.

Word ``w`` of a lane stands at ``(start of the slice + w) * lanes + lane``: lanes that are about as
far read neighbouring words, and none needs to know how far the others are. A stream is read from
the lowest bit of a word on. A decoder may look three words ahead; what it finds there behind the
last slice is zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen.code_tables import Table, split_table
from dcc.codegen.lane_streams import WORD_BITS, LaneStreams

AHEAD_WORDS = 3
"""Words that a decoder holds beyond those whose bits it has used."""


def write_streams(
    lengths: npt.NDArray[np.integer],
    codes: npt.NDArray[np.integer],
    bases: npt.NDArray[np.integer],
) -> LaneStreams:
    """Write ``codes`` of ``lengths`` bits (at most 32), both (steps of all slices, lanes).

    ``bases`` gives the first step of each slice and the number of steps at the end; ``starts``
    count words of a lane.
    """
    lanes, slices = lengths.shape[1], len(bases) - 1
    ends = np.cumsum(lengths, axis=0, dtype=np.int64)
    totals = np.concatenate([np.zeros((1, lanes), dtype=np.int64), ends])[bases]
    owner = np.repeat(np.arange(slices), np.diff(bases))
    begins = ends - lengths - totals[owner]
    words_of_slice = -(-np.diff(totals, axis=0).max(axis=1, initial=0) // WORD_BITS)
    starts = np.cumsum(words_of_slice) - words_of_slice
    rows = int(words_of_slice.sum()) + AHEAD_WORDS
    place = (starts[owner][:, None] + begins // WORD_BITS) * lanes + np.arange(lanes)
    shift = (begins % WORD_BITS).astype(np.uint64)
    wide = codes.astype(np.uint64) << shift
    size = rows * lanes
    # Sums of at most 32 bits, which floating point holds exactly.
    low = (wide & np.uint64(0xFFFFFFFF)).astype(np.float64)
    words = np.bincount(place.ravel(), low.ravel(), size)
    high = (wide >> np.uint64(WORD_BITS)).astype(np.float64)
    spill = high > 0
    words += np.bincount(place[spill] + lanes, high[spill], size)
    payload = int(lengths.sum(dtype=np.int64))
    return LaneStreams(words.astype(np.uint32), starts.astype(np.int32), payload)


def read_streams(
    streams: LaneStreams, tables: list[Table], bases: npt.NDArray[np.integer], lanes: int
) -> npt.NDArray[np.int64]:
    """Decode as a kernel does, its oracle; returns symbols of shape (steps, fields, lanes)."""
    out = np.zeros((int(bases[-1]), len(tables), lanes), dtype=np.int64)
    words = streams.words.astype(np.uint64).reshape(-1, lanes)
    parts = [split_table(table) for table in tables]
    for index, start in enumerate(streams.starts):
        window = words[start] | words[start + 1] << np.uint64(WORD_BITS)
        left = np.full(lanes, 2 * WORD_BITS)
        following = np.full(lanes, int(start) + 2)
        for step in range(int(bases[index]), int(bases[index + 1])):
            for field, (symbols, lengths) in enumerate(parts):
                entry = (window & np.uint64(symbols.size - 1)).astype(np.int64)
                out[step, field] = symbols[entry]
                window >>= lengths[entry].astype(np.uint64)
                left -= lengths[entry]
            short = np.flatnonzero(left <= WORD_BITS)
            window[short] |= words[following[short], short] << left[short].astype(np.uint64)
            left[short] += WORD_BITS
            following[short] += 1
    return out
