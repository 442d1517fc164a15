"""Bits packed into bytes, most significant bit first, by whole numpy arrays.

``write``: values and widths -> bytes; ``unpack``: bytes -> values of one fixed width.
Variable-width codes are read back by :mod:`dcc.codegen.huffman`, which knows where each of them
ends.
"""

from __future__ import annotations

import numpy as np

from dcc.errors import EncodingError

#: Values handled at a time: large enough to hide the cost of a numpy call, small enough for the
#: cache.
CHUNK = 1 << 18


class BitWriter:
    """Append values of up to 32 bits each; memory beyond the output stays constant."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._carry = np.uint64(0)  # the unfinished 32-bit word
        self._carry_bits = 0

    def append(self, values: np.ndarray, widths: np.ndarray) -> None:
        """Append ``values[i]`` in ``widths[i]`` bits (0 to 32; a width of 0 writes nothing)."""
        if not len(values):
            return
        ends = np.cumsum(widths, dtype=np.int64) + self._carry_bits
        offsets = ends - widths
        word_of = offsets >> 5
        # A value of up to 32 bits starting in word w touches at most the words w and w + 1.
        shift = (64 - widths.astype(np.int64) - (offsets & 31)).astype(np.uint64)
        placed = np.where(widths > 0, values.astype(np.uint64), np.uint64(0)) << np.minimum(
            shift, np.uint64(63)
        )
        starts = np.flatnonzero(np.diff(word_of, prepend=-1))
        words = np.zeros((int(ends[-1]) >> 5) + 2, dtype=np.uint64)
        touched = word_of[starts]
        words[touched] |= np.bitwise_or.reduceat(placed >> np.uint64(32), starts)
        words[touched + 1] |= np.bitwise_or.reduceat(placed & np.uint64(0xFFFFFFFF), starts)
        words[0] |= self._carry
        whole = int(ends[-1]) >> 5
        self._parts.append(words[:whole].astype(">u4").tobytes())
        self._carry = words[whole]
        self._carry_bits = int(ends[-1]) & 31

    def finish(self) -> bytes:
        """Return everything appended, the last byte filled up with zero bits."""
        tail = int(self._carry).to_bytes(4, "big")[: (self._carry_bits + 7) // 8]
        return b"".join([*self._parts, tail])


def pack(values: np.ndarray, width: int) -> bytes:
    """Pack unsigned values in ``width`` bits each (0 to 32)."""
    if width == 0:
        return b""
    if width in (8, 16, 32):
        return values.astype(f">u{width // 8}").tobytes()
    writer = BitWriter()
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        writer.append(chunk, np.full(len(chunk), width, dtype=np.int64))
    return writer.finish()


def packed_size(count: int, width: int) -> int:
    """Bytes that ``count`` values of ``width`` bits take."""
    return (count * width + 7) // 8


def unpack(data: bytes, width: int, count: int) -> np.ndarray:
    """Read ``count`` values of ``width`` bits (0 to 24): the inverse of :func:`pack`.

    Returns
    -------
    numpy.ndarray
        ``uint32``, shape ``(count,)``.

    Raises
    ------
    EncodingError
        If ``data`` has not exactly the length that ``count`` values need.
    """
    if len(data) != packed_size(count, width):
        raise EncodingError(
            f"packed bits: {count} values of {width} bits need {packed_size(count, width)} bytes, "
            f"got {len(data)}; the data are damaged"
        )
    if width == 0:
        return np.zeros(count, dtype=np.uint32)
    if width in (8, 16):
        return np.frombuffer(data, dtype=f">u{width // 8}").astype(np.uint32)
    padded = np.frombuffer(data + b"\0\0\0\0", dtype=np.uint8)
    values = np.empty(count, dtype=np.uint32)
    for start in range(0, count, CHUNK):
        bits = np.arange(start, min(start + CHUNK, count), dtype=np.int64) * width
        window = words_at(padded, bits >> 3)
        shift = (32 - width - (bits & 7)).astype(np.uint32)
        values[start : start + len(bits)] = (window >> shift) & np.uint32((1 << width) - 1)
    return values


def words_at(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Big-endian 32-bit words that start at the byte ``offsets`` of ``data`` (uint8)."""
    word = data[offsets].astype(np.uint32)
    for byte in (1, 2, 3):
        word = (word << np.uint32(8)) | data[offsets + byte]
    return word


class BitReader:
    """Read single values; for short headers only."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, width: int) -> int:
        """Next ``width`` bits (0 to 32); past the end an :class:`EncodingError`."""
        value = self.peek(width)
        self.skip(width)
        return value

    def peek(self, width: int) -> int:
        """Next ``width`` bits (0 to 32) without moving on; zeros past the end."""
        first = self._position >> 3
        window = int.from_bytes(self._data[first : first + 5].ljust(5, b"\0"), "big")
        return (window >> (40 - width - (self._position & 7))) & ((1 << width) - 1)

    def skip(self, width: int) -> None:
        """Move ``width`` bits on."""
        self._position += width
        if self._position > 8 * len(self._data):
            raise EncodingError("a table of code lengths ends too early; the data are damaged")

    def bytes_used(self) -> int:
        """Bytes touched so far."""
        return (self._position + 7) // 8
