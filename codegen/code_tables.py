"""Canonical codes whose first bit is the lowest, and the tables that kernels decode them by.

A table is indexed by the next bits of a stream. There are two layouts:

- *words*, for tables in memory: uint32, ``symbol | length << 16``, as many as the longest code
  needs;
- *bytes*, for tables in vector registers: uint8, indexed by 7 bits: ``symbol | length << 5`` where
  symbols have at most 5 bits (128 bytes), or 128 symbols and then 128 lengths.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen import huffman

BYTE_TABLE_BITS = 7
"""Bits that index a table of bytes."""
PACKED_SYMBOL_BITS = 5
"""Widest symbol that shares a byte with the length of its code."""
LENGTH_SHIFT = 16

Table = npt.NDArray[np.unsignedinteger]


def reverse_bits(
    values: npt.NDArray[np.integer], widths: npt.NDArray[np.integer] | int
) -> npt.NDArray[np.uint32]:
    """Reverse the lowest ``widths`` bits (0 to 32) of each of ``values``."""
    wide = values.astype(np.uint64)
    reverse = np.zeros(wide.shape, dtype=np.uint64)
    for bit in range(32):
        reverse |= (wide >> np.uint64(bit) & np.uint64(1)) << np.uint64(31 - bit)
    return (reverse >> (32 - np.asarray(widths)).astype(np.uint64)).astype(np.uint32)


def stream_codes(lengths: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Canonical codes for ``lengths``, the first bit lowest."""
    return reverse_bits(huffman.canonical_codes(lengths), lengths)


def fits_bytes(alphabet: int, code_length: int) -> bool:
    """Whether a code of at most ``code_length`` bits over ``alphabet`` symbols fits bytes."""
    return code_length <= BYTE_TABLE_BITS and alphabet <= 1 << 8


def word_table(lengths: npt.NDArray[np.uint8], code_length: int) -> npt.NDArray[np.uint32]:
    """Table of words, shape ``(2**code_length,)``."""
    table = huffman.decode_table(lengths, code_length)
    return table[reverse_bits(np.arange(table.size), code_length)]


def byte_table(lengths: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Table of bytes, shape (128,) or (256,); no code has more than 7 bits."""
    words = word_table(lengths, BYTE_TABLE_BITS)
    symbols, sizes = words & 0xFFFF, words >> LENGTH_SHIFT
    if lengths.size <= 1 << PACKED_SYMBOL_BITS:
        return (symbols | sizes << PACKED_SYMBOL_BITS).astype(np.uint8)
    return np.concatenate([symbols, sizes]).astype(np.uint8)


def split_table(table: Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Symbols and lengths of a table in either layout."""
    wide = table.astype(np.int64)
    if table.dtype != np.uint8:
        return wide & 0xFFFF, wide >> LENGTH_SHIFT
    if table.size == 1 << BYTE_TABLE_BITS:
        return wide & (1 << PACKED_SYMBOL_BITS) - 1, wide >> PACKED_SYMBOL_BITS
    return wide[: table.size // 2], wide[table.size // 2 :]
