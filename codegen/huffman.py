"""Canonical, length-limited Huffman codes and their streams.

Lengths come from package-merge (Larmore and Hirschberg 1990), which is optimal under a limit and
equals Huffman's algorithm where the limit does not bind. Codes are canonical: shorter codes first,
then by symbol, so that the lengths alone describe the code.

A stream is decoded by whole arrays: for *every* bit position the length of the code that would
start there is looked up, the links "position -> next position" are composed four times, so that one
link jumps 16 symbols, and only every 16th symbol is reached one after the other; the others follow
from the links, all at once. No restart points are stored.
"""

from __future__ import annotations

import numpy as np

from dcc.codegen.bitstream import CHUNK, BitWriter
from dcc.errors import EncodingError

#: Longest code in a stored stream.
MAX_LENGTH = 15
_DECODED_BYTES = 1 << 15  # of the stream at a time
_DOUBLINGS = 4


def code_lengths(counts: np.ndarray, max_length: int = MAX_LENGTH) -> np.ndarray:
    """Optimal code lengths of at most ``max_length`` bits.

    Parameters
    ----------
    counts
        Occurrences per symbol, shape ``(symbols,)``; symbols with 0 get no code.
    max_length
        Bits of the longest code, 1 to 24.

    Returns
    -------
    numpy.ndarray
        ``uint8``, shape ``(symbols,)``; 0 = unused. A single used symbol has length 1.

    Raises
    ------
    EncodingError
        If more than ``2**max_length`` symbols are used.
    """
    counts = np.asarray(counts, dtype=np.int64)
    lengths = np.zeros(len(counts), dtype=np.uint8)
    used = np.flatnonzero(counts)
    if len(used) > 1 << max_length:
        raise EncodingError(
            f"Huffman code: {len(used)} symbols do not fit codes of at most {max_length} bits; "
            "allow longer codes or use fewer symbols"
        )
    if len(used) <= 1:
        lengths[used] = 1
        return lengths
    order = used[np.argsort(counts[used], kind="stable")]
    leaves = counts[order]
    leaf_counts = []  # per level: how many of the first i items are leaves
    items = leaves
    for level in range(max_length):
        if level:
            packages = items[: len(items) & ~1].reshape(-1, 2).sum(axis=1)
            items = np.concatenate([leaves, packages])
            merged = np.argsort(items, kind="stable")
            items = items[merged]
            is_leaf = merged < len(leaves)
        else:
            is_leaf = np.ones(len(leaves), dtype=bool)
        leaf_counts.append(np.concatenate([[0], np.cumsum(is_leaf)]))
    # The cheapest 2n - 2 items of the last level; its packages stand for twice as many of the level
    # before.
    chosen = 2 * len(leaves) - 2
    for prefix in reversed(leaf_counts):
        leaves_chosen = int(prefix[chosen])
        lengths[order[:leaves_chosen]] += 1
        chosen = 2 * (chosen - leaves_chosen)
    return lengths


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
    """Canonical codes for ``lengths`` (0 = unused), right-aligned ``uint32`` of the same shape."""
    codes = np.zeros(len(lengths), dtype=np.uint32)
    order, firsts = _canonical_order(lengths)
    if len(order):
        width = int(lengths[order[-1]])
        codes[order] = firsts >> (width - lengths[order].astype(np.int64))
    return codes


def decode_table(lengths: np.ndarray, max_length: int | None = None) -> np.ndarray:
    """Table of the next ``max_length`` bits -> ``symbol | length << 16``.

    Entries that no code reaches (one used symbol only) say symbol 0 and length ``max_length``.

    Returns
    -------
    numpy.ndarray
        ``uint32``, shape ``(2**max_length,)``.

    Raises
    ------
    EncodingError
        If the lengths do not form a prefix code or exceed ``max_length``.
    """
    lengths = np.asarray(lengths, dtype=np.uint8)
    longest = int(lengths.max(initial=0))
    width = longest if max_length is None else max_length
    if longest > width or len(lengths) > 1 << 16:
        raise EncodingError(f"Huffman code: length {longest} exceeds the limit of {width} bits")
    check_lengths(lengths)
    table = np.full(1 << width, width << 16, dtype=np.uint32)
    order, _ = _canonical_order(lengths)
    sizes = lengths[order].astype(np.int64)
    entries = np.repeat(
        order.astype(np.uint32) | (sizes << 16).astype(np.uint32), 1 << (width - sizes)
    )
    table[: len(entries)] = entries
    return table


def check_lengths(lengths: np.ndarray) -> None:
    """Raise :class:`EncodingError` unless this is a complete code, or one symbol of length 1."""
    used = lengths[lengths > 0].astype(np.int64)
    lone = len(used) == 1 and used[0] == 1
    if not lone and (not len(used) or used.max() > 24 or int((1 << (24 - used)).sum()) != 1 << 24):
        raise EncodingError("Huffman code: the code lengths do not form a complete prefix code")


def encode(symbols: np.ndarray, lengths: np.ndarray) -> bytes:
    """Concatenate the codes of ``symbols`` (integers below ``len(lengths)``) to one stream."""
    codes = canonical_codes(lengths)
    writer = BitWriter()
    for start in range(0, len(symbols), CHUNK):
        chunk = symbols[start : start + CHUNK]
        writer.append(codes[chunk], lengths[chunk])
    return writer.finish()


def encoded_size(counts: np.ndarray, lengths: np.ndarray) -> int:
    """Bytes of a stream in which symbol ``i`` occurs ``counts[i]`` times."""
    return (int(np.dot(counts.astype(np.int64), lengths.astype(np.int64))) + 7) // 8


def decode(data: bytes, lengths: np.ndarray, count: int) -> np.ndarray:
    """Read ``count`` symbols: the inverse of :func:`encode`.

    Returns
    -------
    numpy.ndarray
        ``uint16``, shape ``(count,)``.

    Raises
    ------
    EncodingError
        If the lengths are no prefix code or the stream has not exactly the bytes that ``count``
        symbols need.
    """
    if count > 8 * len(data):
        raise EncodingError(
            f"Huffman stream: {len(data)} bytes cannot hold {count} symbols; it is cut short"
        )
    if count == 0:
        _check_end(0, data)
        return np.empty(0, dtype=np.uint16)
    table = decode_table(lengths)
    width = int(lengths.max())
    symbol_of = (table & np.uint32(0xFFFF)).astype(np.uint16)
    length_of = (table >> np.uint32(16)).astype(np.int32)
    padded = np.frombuffer(data + bytes(4), dtype=np.uint8)
    symbols = np.empty(count, dtype=np.uint16)
    position = filled = 0
    while filled < count:
        first = position >> 3
        if first >= len(data):
            raise EncodingError(
                f"Huffman stream: it ends after {filled} of {count} symbols; it is cut short"
            )
        windows = _windows(padded[first : first + _DECODED_BYTES + 3], width)
        steps = length_of[windows]
        found = _chain(steps, position & 7)[: count - filled]
        symbols[filled : filled + len(found)] = symbol_of[windows[found]]
        filled += len(found)
        position = 8 * first + int(found[-1]) + int(steps[found[-1]])
    _check_end(position, data)
    return symbols


def _windows(data: np.ndarray, width: int) -> np.ndarray:
    """Return the ``width`` bits that start at each bit of ``data``, less its last 3 bytes."""
    words = data[:-3].astype(np.uint32)
    for byte in (1, 2, 3):
        words = (words << np.uint32(8)) | data[byte : len(data) - 3 + byte]
    shifts = np.arange(32 - width, 24 - width, -1, dtype=np.uint32)
    return ((words[:, None] >> shifts) & np.uint32((1 << width) - 1)).reshape(-1)


def _chain(steps: np.ndarray, start: int) -> np.ndarray:
    """Positions from ``start`` by ``position += steps[position]``, as far as ``steps`` goes."""
    end = len(steps)
    following = np.arange(end + 1, dtype=np.int32)
    following[:-1] += steps
    np.minimum(following, end, out=following)  # the end leads to itself
    jump = following
    for _ in range(_DOUBLINGS):
        jump = jump[jump]
    anchors = []
    far = jump.data
    while start < end:
        anchors.append(start)
        start = far[start]
    reached = np.empty((1 << _DOUBLINGS, len(anchors)), dtype=np.int32)
    reached[0] = anchors
    for row in range(1, len(reached)):
        reached[row] = following[reached[row - 1]]
    positions = reached.T.reshape(-1)
    return positions[: np.searchsorted(positions, end)]


def _check_end(position: int, data: bytes) -> None:
    if (position + 7) // 8 != len(data):
        raise EncodingError(
            f"Huffman stream: its symbols end at bit {position}, but it has {len(data)} bytes"
        )


def _canonical_order(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return used symbols in canonical order, and their codes aligned to the longest one."""
    used = np.flatnonzero(lengths)
    order = used[np.argsort(lengths[used], kind="stable")]
    sizes = lengths[order].astype(np.int64)
    spans = 1 << (sizes.max(initial=0) - sizes)
    return order, np.cumsum(spans) - spans
