"""Interleaved streams: what a kernel reads lane by lane is what was written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dcc.codegen import huffman
from dcc.codegen.lane_streams import LaneStreams, deinterleave, deinterleave_fields, interleave
from dcc.codegen.packed_streams import code_symbols
from dcc.compilation import compile as compile_model
from dcc.errors import EncodingError


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 17),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
)
def test_every_symbol_comes_back(seed, lanes, steps_of_slices, alphabets):
    generator = np.random.default_rng(seed)
    bases = np.concatenate([[0], np.cumsum(steps_of_slices)])
    fields = {
        f"field{index}": (generator.random((bases[-1], lanes)) ** 3 * alphabet).astype(np.int64)
        for index, alphabet in enumerate(alphabets)
    }
    coded = code_symbols(fields, bases, 8)
    streams = LaneStreams(coded.stream, coded.starts, coded.payload_bits)
    back = deinterleave_fields(streams, list(coded.tables.values()), 8, bases, lanes)
    for index, symbols in enumerate(fields.values()):
        np.testing.assert_array_equal(back[:, index], symbols)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 16),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.integers(1, 16),
)
def test_codes_of_up_to_16_bits(seed, lanes, steps_of_slices, code_length):
    """The longest codes that a refill of 16 bits can serve, one symbol a step."""
    generator = np.random.default_rng(seed)
    bases = np.concatenate([[0], np.cumsum(steps_of_slices)])
    # Lengths 1, 2, ... code_length, code_length: a complete code, its last symbols the longest.
    lengths = np.append(np.arange(1, code_length + 1), code_length).astype(np.uint8)
    symbols = generator.integers(0, lengths.size, (bases[-1], lanes))
    words = huffman.canonical_codes(lengths)[symbols]
    streams = interleave(lengths[symbols].astype(np.int64), words, bases)
    table = huffman.decode_table(lengths, code_length)
    back = deinterleave(streams, table, code_length, bases, lanes)
    np.testing.assert_array_equal(back, symbols)
    assert streams.payload_bits == lengths[symbols].sum()
    # A slice of padding: at most the last halfwords of each lane's window are not all payload.
    most = streams.payload_bits + 32 * lanes * len(steps_of_slices) + 16 * lanes
    assert 16 * streams.halfwords.size <= most


def test_codes_of_17_bits_are_refused():
    with pytest.raises(EncodingError, match="17 bits"):
        interleave(np.full((1, 1), 17), np.zeros((1, 1)), np.array([0, 1]))


def test_one_lane_is_a_plain_bit_stream():
    """Three codes of 12 bits: halfwords in order, the highest bits first."""
    streams = interleave(
        np.full((3, 1), 12), np.array([[0xABC], [0xDEF], [0x123]]), np.array([0, 3])
    )
    assert [f"{word:04X}" for word in streams.halfwords] == ["ABCD", "EF12", "3000", *["0000"] * 2]


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
