"""Entropy-coded streams that the lanes of a slice read side by side.

Each lane has a bit stream of its own. A decoder keeps a window of 32 bits a lane: it takes a symbol
from the top bits, shifts them out, and when 16 or fewer bits are left it appends the next halfword.
The halfwords of a slice are stored in the order in which its lanes ask for them, so that one
running position serves all lanes: first the high and then the low half of every lane's first
window, then, after each symbol, one halfword for each lane that is short, in lane order.

A symbol has at most 16 bits, so a lane never asks twice after one symbol: after ``bits`` consumed
bits it has asked ``bits // 16`` times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.errors import EncodingError

HALFWORD = 16
WINDOW = 32


@dataclass(frozen=True)
class LaneStreams:
    """The streams of all slices.

    Attributes
    ----------
    halfwords
        All slices one after the other, uint16, with one padding halfword a lane at the end, which a
        decoder that always reads ahead may touch.
    starts
        First halfword of each slice, int32.
    payload_bits
        Bits of the symbols themselves; the rest of the halfwords is padding.
    """

    halfwords: npt.NDArray[np.uint16]
    starts: npt.NDArray[np.int32]
    payload_bits: int


def interleave(
    lengths: npt.NDArray[np.integer],
    words: npt.NDArray[np.integer],
    bases: npt.NDArray[np.integer],
) -> LaneStreams:
    """Write the codes ``words`` of ``lengths`` bits, both of shape (steps of all slices, lanes).

    ``bases`` gives the first step of each slice and the number of steps at the end. Where a step
    has several fields, each of them is a row of its own and ``bases`` counts rows: all lanes read a
    field before they read the next, as a vector unit does.
    """
    lanes = lengths.shape[1]
    slices = len(bases) - 1
    counts = np.diff(bases)
    if lengths.size and int(lengths.max()) > HALFWORD:
        raise EncodingError(f"a code of {int(lengths.max())} bits does not fit the 16-bit refill")
    ends = np.cumsum(lengths, axis=0, dtype=np.int64)
    before_slice = np.concatenate([np.zeros((1, lanes), dtype=np.int64), ends])[bases[:-1]]
    slice_of_step = np.repeat(np.arange(slices), counts)
    ends -= before_slice[slice_of_step]
    begins = ends - lengths

    asked = (ends >> 4) > (begins >> 4)
    initial = 2 * lanes
    asked_before_slice = np.concatenate([[0], np.cumsum(asked.sum(axis=1))])[bases]
    starts = asked_before_slice[:-1] + initial * np.arange(slices)
    total = int(asked_before_slice[-1]) + initial * slices

    places = _HalfwordPlaces(asked, starts, slice_of_step)
    halves = np.zeros(total + lanes, dtype=np.int64)
    first = begins >> 4
    shift = HALFWORD - (begins & 15) - lengths
    wide = words.astype(np.int64)
    lane = np.broadcast_to(np.arange(lanes), lengths.shape)
    step_slice = np.broadcast_to(slice_of_step[:, None], lengths.shape)
    high = np.where(shift >= 0, wide << np.maximum(shift, 0), wide >> np.maximum(-shift, 0))
    np.add.at(halves, places.of(step_slice, lane, first), high)
    spill = shift < 0
    low = (wide[spill] << (HALFWORD + shift[spill])) & 0xFFFF
    np.add.at(halves, places.of(step_slice[spill], lane[spill], first[spill] + 1), low)
    return LaneStreams(
        halves.astype(np.uint16), starts.astype(np.int32), int(lengths.sum(dtype=np.int64))
    )


class _HalfwordPlaces:
    """Where halfword ``h`` of a lane of a slice is stored.

    The first two stand at the slice's start; halfword ``1 + k`` stands where the lane asked for the
    k-th time. A lane of ``bits`` bits asked ``bits // 16`` times, so the halfword of its last bit
    is always there.
    """

    def __init__(
        self,
        asked: npt.NDArray[np.bool_],
        starts: npt.NDArray[np.integer],
        slice_of_step: npt.NDArray[np.integer],
    ) -> None:
        self.lanes = asked.shape[1]
        self.starts = starts
        step, lane = np.divmod(np.flatnonzero(asked), self.lanes)
        owner = slice_of_step[step]
        stored = np.arange(step.size) + 2 * self.lanes * (owner + 1)
        sequence = np.lexsort((step, lane, owner))
        self.table = np.append(stored[sequence], 0)
        counts = np.bincount(owner * self.lanes + lane, minlength=len(starts) * self.lanes)
        self.first_of = np.cumsum(counts) - counts

    def of(
        self,
        owner: npt.NDArray[np.integer],
        lane: npt.NDArray[np.integer],
        halfword: npt.NDArray[np.integer],
    ) -> npt.NDArray[np.integer]:
        """Index into the stored halfwords."""
        early = self.starts[owner] + halfword * self.lanes + lane
        late = self.first_of[owner * self.lanes + lane] + np.maximum(halfword - 2, 0)
        return np.where(halfword < 2, early, self.table[np.minimum(late, self.table.size - 1)])


def deinterleave(
    streams: LaneStreams,
    table: npt.NDArray[np.uint32],
    code_bits: int,
    bases: npt.NDArray[np.integer],
    lanes: int,
) -> npt.NDArray[np.int64]:
    """Decode step by step as a kernel does, one symbol a step: the oracle of the decode stage.

    ``table`` has ``2**code_bits`` words (symbol | length << 16). Returns symbols of shape (steps,
    lanes).
    """
    return deinterleave_fields(streams, [table], code_bits, bases, lanes)[:, 0, :]


def deinterleave_fields(
    streams: LaneStreams,
    tables: list[npt.NDArray[np.uint32]],
    code_bits: int,
    bases: npt.NDArray[np.integer],
    lanes: int,
) -> npt.NDArray[np.int64]:
    """As :func:`deinterleave`, with a symbol by each of ``tables`` at every step.

    Returns symbols of shape (steps, fields, lanes).
    """
    out = np.zeros((int(bases[-1]), len(tables), lanes), dtype=np.int64)
    halfwords = streams.halfwords.astype(np.int64)
    for index, start in enumerate(streams.starts):
        head = halfwords[start : start + 2 * lanes]
        window = head[:lanes] << HALFWORD | head[lanes:]
        left = np.full(lanes, WINDOW)
        position = int(start) + 2 * lanes
        for step in range(int(bases[index]), int(bases[index + 1])):
            for field, table in enumerate(tables):
                word = table[window >> (WINDOW - code_bits)].astype(np.int64)
                out[step, field] = word & 0xFFFF
                window = (window << (word >> 16)) & 0xFFFFFFFF
                left -= word >> 16
                short = np.flatnonzero(left <= HALFWORD)
                ahead = halfwords[position : position + short.size]
                window[short] |= ahead << (HALFWORD - left[short])
                left[short] += HALFWORD
                position += short.size
    return out
