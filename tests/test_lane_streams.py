"""Interleaved streams: what a kernel reads lane by lane is what was written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dcc.codegen.code_tables import BYTE_TABLE_BITS, stream_codes, word_table
from dcc.codegen.lane_streams import LaneStreams, deinterleave, interleave
from dcc.codegen.packed_streams import code_symbols
from dcc.compilation import compile as compile_model
from dcc.errors import EncodingError


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 17),
    st.lists(st.integers(0, 20), min_size=1, max_size=4),
    st.lists(st.integers(1, 120), min_size=1, max_size=2),
    st.integers(1, 2),
    st.booleans(),
)
def test_every_symbol_comes_back(
    seed, lanes, turns_of_slices, alphabets, refill_steps, byte_tables
):
    generator = np.random.default_rng(seed)
    bases = np.concatenate([[0], np.cumsum(turns_of_slices)]) * refill_steps
    fields = {
        f"field{index}": (generator.random((bases[-1], lanes)) ** 3 * alphabet).astype(np.int64)
        for index, alphabet in enumerate(alphabets)
    }
    coded = code_symbols(
        fields, bases, BYTE_TABLE_BITS, byte_tables=byte_tables, refill_steps=refill_steps
    )
    streams = LaneStreams(coded.stream, coded.starts, coded.payload_bits)
    back = deinterleave(streams, list(coded.tables.values()), bases, lanes, refill_steps)
    for index, symbols in enumerate(fields.values()):
        np.testing.assert_array_equal(back[:, index], symbols)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 16),
    st.lists(st.integers(0, 30), min_size=1, max_size=5),
    st.integers(1, 16),
    st.integers(1, 2),
)
def test_codes_of_up_to_16_bits(seed, lanes, turns_of_slices, code_length, refill_steps):
    """The longest codes that a refill of 32 bits can serve, two steps of one symbol each."""
    generator = np.random.default_rng(seed)
    bases = np.concatenate([[0], np.cumsum(turns_of_slices)]) * refill_steps
    # Lengths 1, 2, ... code_length, code_length: a complete code, its last symbols the longest.
    lengths = np.append(np.arange(1, code_length + 1), code_length).astype(np.uint8)
    symbols = generator.integers(0, lengths.size, (bases[-1], lanes))
    codes = stream_codes(lengths)[symbols]
    streams = interleave(lengths[symbols].astype(np.int64), codes, bases, refill_steps)
    table = word_table(lengths, code_length)
    back = deinterleave(streams, [table], bases, lanes, refill_steps)[:, 0]
    np.testing.assert_array_equal(back, symbols)
    assert streams.payload_bits == lengths[symbols].sum()
    # A slice of padding: at most the last words of each lane's window are not all payload.
    most = streams.payload_bits + 64 * lanes * len(turns_of_slices) + 32 * lanes
    assert 32 * streams.words.size <= most


def test_steps_of_33_bits_are_refused():
    with pytest.raises(EncodingError, match="33 bits in 1 steps"):
        interleave(np.full((1, 1), 33), np.zeros((1, 1)), np.array([0, 1]))
    with pytest.raises(EncodingError, match="34 bits in 2 steps"):
        interleave(np.full((2, 1), 17), np.zeros((2, 1)), np.array([0, 2]), 2)


def test_one_lane_is_a_plain_bit_stream():
    """Three codes of 24 bits: words in order, the lowest bits first."""
    codes = np.array([[0xABCDEF], [0x123456], [0x789ABC]])
    streams = interleave(np.full((3, 1), 24), codes, np.array([0, 3]))
    found = [f"{word:08X}" for word in streams.words]
    assert found == ["56ABCDEF", "9ABC1234", "00000078", *["00000000"] * 2]


@pytest.mark.parametrize("levels", [3, 20, 200])
@pytest.mark.parametrize("shape", [(16, 128), (10, 129), (33, 256)])
def test_huffman_matmul_with_gaps_and_codes(shape, levels):
    """The kernel itself: a step with two symbols reads both of a lane before the next lane's."""
    generator = np.random.default_rng(0)
    weight = generator.integers(1, levels + 1, shape) * (generator.random(shape) < 0.2)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
            "gemm",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, shape[1]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, shape[0]])],
            [numpy_helper.from_array(weight.astype(np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    module = compile_model(model, storage="huffman")
    assert module.metadata["layers"][0]["form"] == "huffman"
    x = generator.standard_normal((1, shape[1])).astype(np.float32)
    expected = x.astype(np.float64) @ weight.T
    np.testing.assert_allclose(module(x)[0], expected, atol=1e-5 * np.abs(expected).max())
