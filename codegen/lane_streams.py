"""Entropy-coded streams that the lanes of a slice read side by side.

Each lane has a bit stream of its own, read from the lowest bit of a word on. A decoder holds two
words of 32 bits a lane: it takes symbols from the lowest bits that it has not used yet, and when
the first word is used up it appends the next one. It does so once in ``refill_steps`` steps, whose
symbols have at most 32 bits together, so a lane never asks twice.

The words of a slice are stored in the order in which its lanes ask for them, so that one running
position serves all lanes: the first and then the second word of every lane, then, after each
``refill_steps`` steps, one word for each lane that has used up 32 bits more, in lane order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.codegen.code_tables import Table, split_table
from dcc.errors import EncodingError

WORD_BITS = 32


@dataclass(frozen=True)
class LaneStreams:
    """The streams of all slices.

    Attributes
    ----------
    words
        All slices one after the other, uint32, with one padding word a lane at the end, which a
        decoder that always reads ahead may touch.
    starts
        First word of each slice, int32.
    payload_bits
        Bits of the symbols themselves; the rest of the words is padding.
    """

    words: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int32]
    payload_bits: int


def interleave(
    lengths: npt.NDArray[np.integer],
    codes: npt.NDArray[np.integer],
    bases: npt.NDArray[np.integer],
    refill_steps: int = 1,
) -> LaneStreams:
    """Write ``codes`` of ``lengths`` bits, lowest bit first, both (steps of all slices, lanes).

    A step's code is that of all its fields together, the first one lowest. ``bases`` gives the
    first step of each slice and the number of steps at the end, all of them multiples of
    ``refill_steps``.
    """
    lanes = lengths.shape[1]
    turns = bases // refill_steps
    lengths, codes = _join(lengths.astype(np.int64), codes.astype(np.uint64), refill_steps)
    if lengths.size and int(lengths.max()) > WORD_BITS:
        raise EncodingError(
            f"codes of {int(lengths.max())} bits in {refill_steps} steps do not fit the refill of "
            f"{WORD_BITS} bits"
        )
    slices = len(turns) - 1
    ends = np.cumsum(lengths, axis=0, dtype=np.int64)
    before_slice = np.concatenate([np.zeros((1, lanes), dtype=np.int64), ends])[turns[:-1]]
    slice_of_turn = np.repeat(np.arange(slices), np.diff(turns))
    ends -= before_slice[slice_of_turn]
    begins = ends - lengths

    asked = ends // WORD_BITS > begins // WORD_BITS
    initial = 2 * lanes
    asked_before_slice = np.concatenate([[0], np.cumsum(asked.sum(axis=1))])[turns]
    starts = asked_before_slice[:-1] + initial * np.arange(slices)
    total = int(asked_before_slice[-1]) + initial * slices + lanes

    places = _WordPlaces(asked, starts, slice_of_turn)
    shift = (begins % WORD_BITS).astype(np.uint64)
    wide = codes << shift
    carry = np.where(shift > 0, codes >> (np.uint64(WORD_BITS) - np.maximum(shift, 1)), 0)
    lane = np.broadcast_to(np.arange(lanes), lengths.shape)
    owner = np.broadcast_to(slice_of_turn[:, None], lengths.shape)
    first = begins // WORD_BITS
    words = _sums(places.of(owner, lane, first), wide & np.uint64(0xFFFFFFFF), total)
    spill = begins % WORD_BITS + lengths > WORD_BITS
    words += _sums(places.of(owner[spill], lane[spill], first[spill] + 1), carry[spill], total)
    return LaneStreams(
        words.astype(np.uint32), starts.astype(np.int32), int(lengths.sum(dtype=np.int64))
    )


def _join(
    lengths: npt.NDArray[np.int64], codes: npt.NDArray[np.uint64], steps: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Make one code of every ``steps`` steps, the first one lowest."""
    joined, width = codes[::steps].copy(), lengths[::steps].copy()
    for step in range(1, steps):
        joined |= codes[step::steps] << width.astype(np.uint64)
        width += lengths[step::steps]
    return width, joined


def _sums(
    index: npt.NDArray[np.integer], values: npt.NDArray[np.uint64], size: int
) -> npt.NDArray[np.float64]:
    """Add up ``values`` by place; every sum has at most 32 bits, so floating point is exact."""
    weights = values.ravel().astype(np.float64)
    return np.bincount(index.ravel(), weights, size).astype(np.float64)


class _WordPlaces:
    """Where word ``w`` of a lane of a slice is stored.

    The first two stand at the slice's start; word ``1 + k`` stands where the lane asked for the
    k-th time. A lane of ``bits`` bits asked ``bits // 32`` times, so the word of its last bit is
    always there.
    """

    def __init__(
        self,
        asked: npt.NDArray[np.bool_],
        starts: npt.NDArray[np.integer],
        slice_of_turn: npt.NDArray[np.integer],
    ) -> None:
        self.lanes = asked.shape[1]
        self.starts = starts
        turn, lane = np.divmod(np.flatnonzero(asked), self.lanes)
        owner = slice_of_turn[turn]
        stored = np.arange(turn.size) + 2 * self.lanes * (owner + 1)
        sequence = np.lexsort((turn, lane, owner))
        self.table = np.append(stored[sequence], 0)
        counts = np.bincount(owner * self.lanes + lane, minlength=len(starts) * self.lanes)
        self.first_of = np.cumsum(counts) - counts

    def of(
        self,
        owner: npt.NDArray[np.integer],
        lane: npt.NDArray[np.integer],
        word: npt.NDArray[np.integer],
    ) -> npt.NDArray[np.integer]:
        """Index into the stored words."""
        early = self.starts[owner] + word * self.lanes + lane
        late = self.first_of[owner * self.lanes + lane] + np.maximum(word - 2, 0)
        return np.where(word < 2, early, self.table[np.minimum(late, self.table.size - 1)])


def deinterleave(
    streams: LaneStreams,
    tables: list[Table],
    bases: npt.NDArray[np.integer],
    lanes: int,
    refill_steps: int = 1,
    optional: int | None = None,
) -> npt.NDArray[np.int64]:
    """Decode step by step as a kernel does: the oracle of the decode stage.

    Each of ``tables`` (``codegen.code_tables``) gives one symbol a step; that of number
    ``optional`` only where the symbol before it is not 0. Returns symbols of shape (steps, fields,
    lanes).
    """
    out = np.zeros((int(bases[-1]), len(tables), lanes), dtype=np.int64)
    words = streams.words.astype(np.uint64)
    parts = [split_table(table) for table in tables]
    for index, start in enumerate(streams.starts):
        head = words[start : start + 2 * lanes]
        window = head[:lanes] | head[lanes:] << np.uint64(WORD_BITS)
        left = np.full(lanes, 2 * WORD_BITS)
        position = int(start) + 2 * lanes
        for step in range(int(bases[index]), int(bases[index + 1])):
            for field, (symbols, lengths) in enumerate(parts):
                entry = (window & np.uint64(symbols.size - 1)).astype(np.int64)
                present = field != optional or out[step, field - 1] != 0
                size = np.where(present, lengths[entry], 0)
                out[step, field] = np.where(present, symbols[entry], 0)
                window >>= size.astype(np.uint64)
                left -= size
            if (step - int(bases[index])) % refill_steps == refill_steps - 1:
                short = np.flatnonzero(left <= WORD_BITS)
                ahead = words[position : position + short.size]
                window[short] |= ahead << left[short].astype(np.uint64)
                left[short] += WORD_BITS
                position += short.size
    return out
