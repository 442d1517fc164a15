"""The dense grid of codes that the codebook form stores: several columns of a row in a word.

A word of 32 bits holds 32, 16, 8 or 4 codes, the first column in the lowest bits; the words of the
``lanes`` rows of a slice stand side by side, so that a vector of words is some columns of a slice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WORD_BITS = 32

Codes = npt.NDArray[np.integer]


def code_width(code_bits: int) -> int:
    """Bits in which a code is stored: 1, 2, 4 or 8."""
    return next(width for width in (1, 2, 4, 8) if width >= code_bits)


def codes_per_word(code_bits: int) -> int:
    """How many codes a word holds: 32, 16, 8 or 4."""
    return WORD_BITS // code_width(code_bits)


def pack_codes(codes: Codes, code_bits: int) -> npt.NDArray[np.uint32]:
    """Pack codes of shape (slices, columns, lanes) into words (slices, words, lanes)."""
    per_word, width = codes_per_word(code_bits), code_width(code_bits)
    slices, columns, lanes = codes.shape
    words = np.zeros((slices, -(-columns // per_word), lanes), dtype=np.uint32)
    for place in range(min(per_word, columns)):
        part = codes[:, place::per_word].astype(np.uint32) << np.uint32(place * width)
        words[:, : part.shape[1]] |= part
    return words


def unpack_codes(
    words: npt.NDArray[np.uint32], code_bits: int, columns: int
) -> npt.NDArray[np.int64]:
    """Inverse of :func:`pack_codes`."""
    per_word, width = codes_per_word(code_bits), code_width(code_bits)
    wide = words.astype(np.int64)
    parts = [(wide >> (place * width)) & ((1 << width) - 1) for place in range(per_word)]
    slices, count, lanes = words.shape
    return np.stack(parts, axis=2).reshape(slices, count * per_word, lanes)[:, :columns]
