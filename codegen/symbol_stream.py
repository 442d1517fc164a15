"""One stream of small integers: fixed width or Huffman, whichever takes fewer bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcc.codegen import bitstream, huffman
from dcc.codegen.byte_reader import ByteReader, varint
from dcc.codegen.length_table import read_lengths, write_lengths


@dataclass(frozen=True)
class StreamPlan:
    """How to store symbols of a known histogram, and what it costs."""

    lengths: np.ndarray | None  # code lengths; None: fixed width
    table: bytes  # serialised lengths and the stream's length
    payload_size: int  # bytes

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.table) + self.payload_size


def plan_stream(counts: np.ndarray, entropy_coded: bool = True) -> StreamPlan:
    """Cheapest plan for symbols that occur ``counts[i]`` times each.

    Without ``entropy_coded``, that of a fixed width.
    """
    total = int(counts.sum())
    fixed = StreamPlan(None, b"", bitstream.packed_size(total, fixed_width(len(counts))))
    used = int(np.count_nonzero(counts))
    if (
        not entropy_coded
        or not total
        or used > 1 << huffman.MAX_LENGTH
        or fixed.size <= entropy_bytes(counts) + 4 + used // 8
    ):
        return fixed
    lengths = huffman.code_lengths(counts)
    payload = huffman.encoded_size(counts, lengths)
    coded = StreamPlan(lengths, write_lengths(lengths) + varint(payload), payload)
    return coded if coded.size < fixed.size else fixed


def write_stream(symbols: np.ndarray, alphabet: int, plan: StreamPlan) -> bytes:
    """Payload of ``symbols`` (integers below ``alphabet``); ``plan.table`` goes before it."""
    if plan.lengths is None:
        return bitstream.pack(symbols, fixed_width(alphabet))
    return huffman.encode(symbols, plan.lengths)


def read_stream(
    reader: ByteReader, count: int, alphabet: int, coded: bool
) -> tuple[np.ndarray, int]:
    """Read ``count`` symbols.

    Returns
    -------
    symbols
        Unsigned integers, shape ``(count,)``; they may reach beyond ``alphabet`` up to the fixed
        width.
    table_size
        Bytes of the table that stood before the payload.
    """
    start = reader.position
    if not coded:
        width = fixed_width(alphabet)
        return bitstream.unpack(reader.take(bitstream.packed_size(count, width)), width, count), 0
    lengths = read_lengths(reader, alphabet)
    payload_size = reader.varint(reader.remaining)
    table_size = reader.position - start
    return huffman.decode(reader.take(payload_size), lengths, count), table_size


def fixed_width(alphabet: int) -> int:
    """Bits that tell ``alphabet`` symbols apart."""
    return max(alphabet - 1, 0).bit_length()


def entropy_bytes(counts: np.ndarray) -> int:
    """Whole bytes that no code for independent symbols of this histogram stays below."""
    used = counts[counts > 0].astype(np.float64)
    return int((used * (np.log2(used.sum()) - np.log2(used))).sum() / 8)
