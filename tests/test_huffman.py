"""Huffman codes: optimal, canonical, limited; streams and tables."""

import heapq
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcc.codegen import huffman
from dcc.codegen.byte_reader import ByteReader
from dcc.codegen.length_table import read_lengths, write_lengths
from dcc.codegen.symbol_stream import plan_stream, read_stream, write_stream
from dcc.errors import EncodingError

histograms = st.lists(st.integers(0, 1000), min_size=1, max_size=300).filter(any)


def huffman_cost(counts) -> int:
    """Bits by Huffman's own algorithm, without a limit."""
    heap = [count for count in counts if count]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        cost += pair
        heapq.heappush(heap, pair)
    return cost


@given(histograms)
def test_lengths_are_optimal_where_the_limit_does_not_bind(counts):
    lengths = huffman.code_lengths(np.array(counts), 24)
    assert int(np.dot(counts, lengths.astype(int))) == huffman_cost(counts)


@given(histograms, st.integers(9, 15))
def test_lengths_respect_the_limit_and_fill_the_code(counts, limit):
    lengths = huffman.code_lengths(np.array(counts), limit)
    used = lengths[lengths > 0].astype(int)
    assert np.array_equal(lengths > 0, np.array(counts) > 0)
    assert used.max() <= limit
    assert len(used) == 1 or sum(2.0**-used) == 1


def test_the_limit_binds_on_fibonacci_counts():
    counts = [1, 1]
    while len(counts) < 20:
        counts.append(counts[-1] + counts[-2])
    lengths = huffman.code_lengths(np.array(counts), 6)
    assert lengths.max() == 6
    assert sum(2.0 ** -lengths.astype(int)) == 1
    with pytest.raises(EncodingError, match="do not fit"):
        huffman.code_lengths(np.array(counts), 4)


@given(histograms)
def test_codes_are_canonical(counts):
    lengths = huffman.code_lengths(np.array(counts))
    codes = huffman.canonical_codes(lengths)
    used = sorted((int(lengths[s]), s) for s in np.flatnonzero(lengths))
    words = [format(codes[s], f"0{size}b") for size, s in used]
    assert words == sorted(words)
    assert not any(b.startswith(a) for a, b in itertools.pairwise(words))
    assert int(codes[used[0][1]]) == 0


@given(histograms)
def test_decode_table_reads_every_code(counts):
    lengths = huffman.code_lengths(np.array(counts))
    codes = huffman.canonical_codes(lengths)
    table = huffman.decode_table(lengths, 15)
    for symbol in np.flatnonzero(lengths):
        entry = int(table[int(codes[symbol]) << (15 - int(lengths[symbol]))])
        assert (entry & 0xFFFF, entry >> 16) == (symbol, lengths[symbol])


@given(st.lists(st.integers(0, 40), max_size=400))
def test_decode_inverts_encode(symbols):
    counts = np.bincount(symbols, minlength=41) if symbols else np.ones(41, dtype=int)
    lengths = huffman.code_lengths(counts)
    data = huffman.encode(np.array(symbols, dtype=np.uint16), lengths)
    assert len(data) == huffman.encoded_size(np.bincount(symbols, minlength=41), lengths)
    assert huffman.decode(data, lengths, len(symbols)).tolist() == symbols


@pytest.mark.parametrize("count", [1, 7, 8, 9, 31, 1000, 200_003, 1_500_001])
def test_long_streams(count):
    symbols = np.random.default_rng(count).geometric(0.2, count).clip(1, 300) - 1
    lengths = huffman.code_lengths(np.bincount(symbols, minlength=300))
    data = huffman.encode(symbols, lengths)
    assert np.array_equal(huffman.decode(data, lengths, count), symbols)
    for damaged in (data[:-1], data + b"\0"):
        with pytest.raises(EncodingError):
            huffman.decode(damaged, lengths, count)


@given(histograms)
def test_length_table_round_trip(counts):
    lengths = huffman.code_lengths(np.array(counts))
    data = write_lengths(lengths)
    reader = ByteReader(data + b"rest", "test")
    assert np.array_equal(read_lengths(reader, len(lengths)), lengths)
    assert reader.position == len(data)


@settings(max_examples=300)
@given(st.binary(min_size=1, max_size=60), st.integers(1, 70000))
def test_hostile_length_tables(data, alphabet):
    try:
        lengths = read_lengths(ByteReader(data, "test"), alphabet)
    except EncodingError:
        return
    assert len(lengths) == alphabet
    huffman.check_lengths(lengths)


@pytest.mark.parametrize("lengths", [[0, 0], [2, 2, 2], [1, 1, 1], [2], [30, 1]])
def test_incomplete_codes_are_refused(lengths):
    with pytest.raises(EncodingError):
        huffman.decode_table(np.array(lengths, dtype=np.uint8))


@given(st.lists(st.integers(0, 99), min_size=1, max_size=500))
def test_stream_is_planned_to_the_byte(symbols):
    array = np.array(symbols, dtype=np.uint16)
    plan = plan_stream(np.bincount(array, minlength=100))
    data = plan.table + write_stream(array, 100, plan)
    assert len(data) == plan.size <= (len(symbols) * 7 + 7) // 8
    reader = ByteReader(data, "test")
    read, table = read_stream(reader, len(symbols), 100, plan.lengths is not None)
    assert read.tolist() == symbols
    assert table == len(plan.table)
    reader.finish()
