"""Packing of bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcc.codegen import bitstream
from dcc.errors import EncodingError


@given(st.integers(0, 24), st.data())
def test_unpack_inverts_pack(width, data):
    values = data.draw(st.lists(st.integers(0, (1 << width) - 1), max_size=70))
    packed = bitstream.pack(np.array(values, dtype=np.uint32), width)
    assert len(packed) == bitstream.packed_size(len(values), width)
    assert bitstream.unpack(packed, width, len(values)).tolist() == values


@given(
    st.lists(
        st.integers(0, 32).flatmap(lambda w: st.tuples(st.integers(0, (1 << w) - 1), st.just(w)))
    )
)
def test_writer_matches_a_string_of_bits(pairs):
    expected = "".join(format(value, f"0{width}b") for value, width in pairs if width)
    writer = bitstream.BitWriter()
    for half in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
        writer.append(
            np.array([v for v, _ in half], np.uint32), np.array([w for _, w in half], np.int64)
        )
    data = writer.finish()
    assert len(data) == (len(expected) + 7) // 8
    assert "".join(format(byte, "08b") for byte in data)[: len(expected)] == expected
    reader = bitstream.BitReader(data)
    assert [reader.read(width) for _, width in pairs] == [value for value, _ in pairs]


def test_chunks_join():
    values = np.arange(3 * bitstream.CHUNK + 5, dtype=np.uint32) % 2048
    assert np.array_equal(bitstream.unpack(bitstream.pack(values, 11), 11, len(values)), values)


def test_wrong_length_is_refused():
    with pytest.raises(EncodingError, match="need 2 bytes, got 3"):
        bitstream.unpack(b"abc", 3, 5)
    with pytest.raises(EncodingError):
        bitstream.BitReader(b"a").read(9)
