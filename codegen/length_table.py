"""A compact form of a Huffman code's lengths, for streams so short that their table counts.

Per used symbol, in order: a token for the unused symbols skipped before it (none, one, or a run
with its length in Elias gamma) and a token for the difference of its length from the one before (0,
+-1, +-2, or the length itself in 4 bits). Neighbouring codes of a sorted codebook have similar
counts, so most differences are small. The eight tokens have a Huffman code of their own, whose
lengths take 3 bits each.

Layout: varint(used symbols), 8 x 3 bits, tokens; filled up to whole bytes. The first length is
predicted as the logarithm of the number of used symbols.
"""

from __future__ import annotations

import numpy as np

from dcc.codegen.bitstream import BitReader, BitWriter
from dcc.codegen.byte_reader import ByteReader, varint
from dcc.codegen.huffman import (
    MAX_LENGTH,
    canonical_codes,
    check_lengths,
    code_lengths,
    decode_table,
)
from dcc.errors import EncodingError

_TOKENS = 8
_LITERAL, _SKIP_ONE, _SKIP_RUN = 5, 6, 7
_DIFFERENCES = (0, 1, -1, 2, -2)  # token -> difference
_TOKEN_BITS = 7  # longest code of a token


def write_lengths(lengths: np.ndarray) -> bytes:
    """Serialise code lengths (0 = unused, at most 15, at least one used)."""
    used = np.flatnonzero(lengths)
    sizes = lengths[used].astype(np.int64)
    skipped = np.diff(used, prepend=-1) - 1
    difference = np.diff(sizes, prepend=_first_guess(len(used)))
    delta_token = np.full(len(used), _LITERAL)
    for token, value in enumerate(_DIFFERENCES):
        delta_token[difference == value] = token
    skip_token = np.where(skipped > 1, _SKIP_RUN, _SKIP_ONE)
    counts = np.bincount(np.concatenate([delta_token, skip_token[skipped > 0]]), minlength=_TOKENS)
    token_lengths = code_lengths(counts, _TOKEN_BITS)
    token_codes = canonical_codes(token_lengths)
    token_bits = token_lengths.astype(np.int64)

    # Four columns per symbol: skip token, length of the run, delta token, literal; absent ones have
    # width 0.
    run_bits = np.zeros(len(used), dtype=np.int64)
    long_run = skipped > 1
    run_bits[long_run] = np.floor(np.log2(skipped[long_run] - 1)).astype(np.int64)
    values = np.stack(
        [token_codes[skip_token], np.maximum(skipped - 1, 0), token_codes[delta_token], sizes],
        axis=1,
    )
    widths = np.stack(
        [
            np.where(skipped > 0, token_bits[skip_token], 0),
            np.where(long_run, 2 * run_bits + 1, 0),
            token_bits[delta_token],
            np.where(delta_token == _LITERAL, 4, 0),
        ],
        axis=1,
    )
    writer = BitWriter()
    writer.append(token_lengths, np.full(_TOKENS, 3, dtype=np.int64))
    writer.append(values.reshape(-1), widths.reshape(-1))
    return varint(len(used)) + writer.finish()


def read_lengths(reader: ByteReader, alphabet: int) -> np.ndarray:
    """Read the lengths of ``alphabet`` symbols: the inverse of :func:`write_lengths`.

    Raises
    ------
    EncodingError
        If they are cut short, run beyond the alphabet or form no complete prefix code.
    """
    count = reader.varint(alphabet)
    bits = BitReader(reader.rest())
    token_lengths = np.array([bits.read(3) for _ in range(_TOKENS)], dtype=np.uint8)
    table = decode_table(token_lengths, _TOKEN_BITS)
    lengths = np.zeros(alphabet, dtype=np.uint8)
    symbol, size = -1, _first_guess(count)
    for _ in range(count):
        token = _read_token(bits, table)
        symbol += 1
        if token in (_SKIP_ONE, _SKIP_RUN):
            symbol += 1 if token == _SKIP_ONE else 1 + _read_gamma(bits)
            token = _read_token(bits, table)
        if token < len(_DIFFERENCES):
            size += _DIFFERENCES[token]
        elif token == _LITERAL:
            size = bits.read(4)
        if token > _LITERAL or symbol >= alphabet or not 1 <= size <= MAX_LENGTH:
            raise EncodingError("a table of code lengths contradicts itself; the data are damaged")
        lengths[symbol] = size
    reader.take(bits.bytes_used())
    check_lengths(lengths)
    return lengths


def _first_guess(used: int) -> int:
    return min(max(used - 1, 1).bit_length(), MAX_LENGTH)


def _read_token(bits: BitReader, table: np.ndarray) -> int:
    entry = int(table[bits.peek(_TOKEN_BITS)])
    bits.skip(entry >> 16)
    return entry & 0xFFFF


def _read_gamma(bits: BitReader) -> int:
    """Elias gamma: as many zeros as the number has bits behind its first one."""
    zeros = 0
    while bits.read(1) == 0:
        zeros += 1
        if zeros > 16:
            raise EncodingError("a table of code lengths has an endless run; the data are damaged")
    return 1 << zeros | bits.read(zeros)
