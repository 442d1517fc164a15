"""Packing in every storage form: exactly what went in comes out, and every byte is accounted for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weights import legal_forms, pack_any, random_weight

from dcc.codegen.code_grid import codes_per_word
from dcc.codegen.packed import pack
from dcc.codegen.packed_streams import entropy_code, pack_huffman
from dcc.codegen.packing import Packing
from dcc.codegen.unpacking import unpack
from dcc.codegen.weight_matrix import FORMS, WeightMatrix
from dcc.errors import EncodingError

SIZES = [(1, 1), (1, 33), (7, 9), (8, 8), (9, 17), (15, 31), (17, 7), (31, 15), (33, 33)]


def bits(array):
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def check(weight, form, lanes, sort=False):
    """Pack, unpack and compare bit by bit; count the bytes. Returns what is stored."""
    packed = pack_any(weight, form, lanes, sort)
    np.testing.assert_array_equal(bits(unpack(packed)), bits(weight.decode()))
    if form == "huffman":
        packed = entropy_code(packed)
        np.testing.assert_array_equal(bits(unpack(packed)), bits(weight.decode()))
    assert packed.nbytes.total == sum(array.nbytes for array in packed.arrays.values())
    parts = packed.nbytes
    assert min(parts.weights, parts.indices, parts.codebook, parts.tables, parts.padding) >= 0
    return packed


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_odd_sizes(form, shape):
    generator = np.random.default_rng(sum(shape))
    for density in (0.0, 0.02, 0.3, 1.0):
        for levels in (1, 2, 3, 17, 256, None):
            weight = random_weight(generator, *shape, density, levels)
            if form in legal_forms(weight):
                for lanes in (1, 4, 16):
                    check(weight, form, lanes, sort=lanes > 1)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 70)),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.99, 1.0]),
    levels=st.sampled_from([1, 2, 4, 5, 100, 256, None]),
    lanes=st.integers(1, 17),
    sort=st.booleans(),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_any_weight(seed, shape, density, levels, lanes, sort, dtype):
    generator = np.random.default_rng(seed)
    weight = random_weight(generator, *shape, density, levels, dtype)
    for form in legal_forms(weight):
        check(weight, form, lanes, sort)


@pytest.mark.parametrize("form", ["sparse", "huffman"])
@pytest.mark.parametrize("levels", [4, None])
def test_wide_gaps_are_bridged(form, levels):
    """Two weights 5000 columns apart, the first column and the last, and an empty row."""
    dense = np.zeros((3, 5001), np.float32)
    dense[0, [0, 5000]] = 1, 2
    dense[2, 4097] = 3
    if levels is None:
        weight = WeightMatrix(values=dense, mask=dense != 0)
    else:
        weight = WeightMatrix.from_codes(dense.astype(np.uint8), np.arange(4, dtype=np.float32))
    check(weight, form, 4)


@pytest.mark.parametrize("form", ["sparse", "huffman"])
def test_rows_of_similar_length_share_a_slice(form):
    """One long row in each slice of eight: sorted, one slice has them all."""
    mask = np.zeros((64, 200), bool)
    mask[::8] = True
    mask[:, 3] = True
    weight = WeightMatrix(values=np.where(mask, np.float32(1.5), 0).astype(np.float32), mask=mask)
    plain, ordered = check(weight, form, 8), check(weight, form, 8, sort=True)
    assert "order" not in plain.arrays
    assert sorted(ordered.arrays["order"]) == list(range(64))
    assert ordered.nbytes.total < plain.nbytes.total / 4


def test_special_values_survive():
    special = np.array([[np.nan, np.inf, -np.inf, -0.0], [1e-45, 0.0, 3.4e38, 5.0]], np.float32)
    mask = bits(special) != 0
    weight = WeightMatrix(values=special, mask=mask)
    for form in legal_forms(weight):
        check(weight, form, 2)
    codebook = np.append(np.float32(0), special[mask])
    codes = np.zeros(special.shape, np.uint8)
    codes[mask] = np.arange(1, 8)
    weight = WeightMatrix(codes=codes, codebook=codebook, mask=mask)
    for form in FORMS:
        check(weight, form, 2)


def test_zero_of_a_codebook_becomes_code_0_and_the_mask():
    codebook = np.array([3.0, -0.0, 0.0, 7.0], np.float32)
    codes = np.array([[0, 1, 2, 3], [2, 2, 3, 0]], np.uint8)
    weight = WeightMatrix.from_codes(codes, codebook)
    np.testing.assert_array_equal(bits(weight.decode()), bits(codebook[codes]))
    np.testing.assert_array_equal(weight.mask, codes != 2)  # -0.0 is a value like others
    assert (weight.codes[~weight.mask] == 0).all()
    unused = WeightMatrix.from_codes(codes % 2, codebook)
    assert unused.mask is None


@pytest.mark.parametrize(
    ("code_bits", "expected"), [(0, 32), (1, 32), (2, 16), (3, 8), (4, 8), (5, 4), (8, 4)]
)
def test_codes_of_a_word(code_bits, expected):
    assert codes_per_word(code_bits) == expected


def test_codebook_of_one_entry_takes_a_bit_a_weight():
    weight = WeightMatrix(codes=np.zeros((16, 64), np.uint8), codebook=np.ones(1, np.float32))
    assert check(weight, "codebook", 16).arrays["codes"].nbytes == 16 * 64 / 8


def test_huffman_nears_the_entropy():
    """A skewed codebook at 10 %: the stream is near the entropy of gaps and codes, lanes padded."""
    generator = np.random.default_rng(0)
    mask = generator.random((256, 2000)) < 0.1
    codes = np.where(mask, 1 + generator.geometric(0.4, mask.shape) % 15, 0).astype(np.uint8)
    codebook = np.arange(16, dtype=np.float32)
    packed = check(
        WeightMatrix(codes=codes, codebook=codebook, mask=mask), "huffman", 16, sort=True
    )
    counts = np.bincount(codes[mask])
    shares = counts[counts > 0] / counts.sum()
    gap_entropy = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)) / 0.1
    entropy = counts.sum() * (gap_entropy - (shares * np.log2(shares)).sum()) / 8
    assert entropy < packed.nbytes.weights + packed.nbytes.indices < 1.1 * entropy


def test_refusals_name_the_form_and_the_reason():
    raw = WeightMatrix(values=np.ones((2, 2), np.float32))
    with pytest.raises(EncodingError, match=r"'codebook'.*none of at most 256 values"):
        pack(raw, "codebook", Packing(4))
    with pytest.raises(EncodingError, match=r"'huffman'.*neither a mask nor a codebook"):
        pack_huffman(raw, Packing(4))
    with pytest.raises(EncodingError, match="pack_huffman"):
        pack(WeightMatrix(values=raw.values, mask=raw.values != 0), "huffman", Packing(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one"),
        ({"values": np.ones((1, 1)), "codes": np.ones((1, 1))}, "exactly one"),
        ({"codes": np.ones((1, 1))}, "belong together"),
        ({"values": np.ones(3)}, "2 axes, got shape \\(3,\\)"),
        ({"values": np.ones((2, 3)), "mask": np.ones((3, 2), bool)}, "mask of shape"),
    ],
)
def test_weight_matrix_is_checked(arguments, message):
    with pytest.raises(EncodingError, match=message):
        WeightMatrix(**arguments)
