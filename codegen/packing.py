"""The choices that lay a weight out for one kernel: what a tuner varies and a kernel reads back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Packing:
    """How a weight is packed.

    Attributes
    ----------
    lanes
        Rows of a slice, which run in lockstep.
    sort
        Whether rows may stand in another order where that saves padding.
    window
        Columns of x that a kernel holds in registers while it reads the entries of the sparse and
        huffman forms: an entry then says its place in the window instead of the gap before it.
        0: relative gaps, which a weight has, too, that windows do not suit (``fits_windows``).
    window_align
        Windows start at multiples of so many columns: fewer loads straddle two cache lines, more
        entries are padding.
    gap_bits
        Width of a gap; None: the one that takes fewest bytes.
    code_length
        Longest code of the huffman form, in bits; 7 or less: decode tables of bytes, which stand in
        vector registers; None: the one that takes fewest bytes.
    refill_steps
        Steps of the huffman form that share a refill of the windows, where their codes have at most
        32 bits together; slices then have a multiple of so many steps.
    segments, block_rows, phases
        Rows are split over lanes, see ``codegen.row_split``; without segments they are whole.
    load_words
        Words of 32 bits that a lane of split rows loads at a time in the sparse form: 1, 2 or 4.
    """

    lanes: int
    sort: bool = False
    window: int = 0
    window_align: int = 8
    gap_bits: int | None = None
    code_length: int | None = None
    refill_steps: int = 1
    segments: int = 0
    block_rows: int = 32
    phases: int = 1
    load_words: int = 1
