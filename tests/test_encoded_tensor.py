"""EncodedTensor: exact for every type, counted to the byte, never larger than raw by more than a header."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dcc.codegen.byte_reader import varint
from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.codegen.raw_values import DTYPE_NAMES, bits_of, numpy_dtype
from dcc.codegen.relative_index import to_entries
from dcc.errors import EncodingError

SIZES = [0, 1, 7, 8, 9, 31, 33, 1000]
FLOATS = ["float32", "float16", "bfloat16", "float64"]


def assert_identical(decoded, array, masked=False):
    """Bit for bit; where a mask dropped it, -0.0 may be 0.0."""
    assert decoded.shape == array.shape
    assert decoded.dtype == array.dtype
    if array.dtype == np.complex128:
        decoded, array = decoded.view(np.float64), array.view(np.float64)
    differ = bits_of(np.ascontiguousarray(decoded)) != bits_of(np.ascontiguousarray(array))
    if masked:
        differ &= (array != 0) | (bits_of(np.ascontiguousarray(decoded)) != 0)
    assert not differ.any()


def round_trip(tensor: EncodedTensor) -> EncodedTensor:
    data = tensor.to_bytes()
    assert tensor.nbytes().total == len(data)
    back = EncodedTensor.from_bytes(data)
    assert back.shape == tensor.shape
    assert back.dtype == tensor.dtype
    assert back.choices == tensor.choices
    assert back.nbytes() == tensor.nbytes()
    for name in ("mask", "codes", "codebook", "values"):
        ours, theirs = getattr(tensor, name), getattr(back, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_identical(theirs, ours)
    return back


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DTYPE_NAMES)
def test_random_bits_of_every_type(name, size):
    dtype = numpy_dtype(name)
    generator = np.random.default_rng(size)
    if dtype == np.bool_:
        array = generator.integers(0, 2, size).astype(bool)
    elif dtype.itemsize == 1 and name[-1] in "42n" and "8" not in name:
        array = generator.integers(0, 2, size).astype(dtype)  # four bits and fewer
    else:
        array = generator.integers(0, 256, size * dtype.itemsize, dtype=np.uint8).view(dtype)
    assert_identical(round_trip(EncodedTensor.from_dense(array)).decode(), array)


@pytest.mark.parametrize("density", [0.0, 0.01, 0.1, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("levels", [None, 1, 2, 16, 255, 256, 300])
@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (9, 31), (2, 3, 5, 7), (61, 67)])
def test_from_dense(shape, name, levels, density):
    generator = np.random.default_rng(7)
    array = generator.standard_normal(shape)
    if levels is not None:
        array = generator.standard_normal(levels)[generator.integers(0, levels, shape)]
    array = np.asarray(array * (generator.random(shape) < density)).astype(numpy_dtype(name))
    tensor = EncodedTensor.from_dense(array)
    assert_identical(round_trip(tensor).decode(), array, masked=tensor.mask is not None)
    assert len(tensor.to_bytes()) <= array.nbytes + 16


@settings(max_examples=150)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=4, max_side=9),
        elements=st.sampled_from([0.0, -0.0, 1.5, -2.0, np.nan, np.inf, -np.inf, 1e-45, 3e38]),
    )
)
def test_special_values(array):
    tensor = EncodedTensor.from_dense(array)
    assert_identical(round_trip(tensor).decode(), array, masked=tensor.mask is not None)


@settings(max_examples=150)
@given(st.integers(0, 400), st.integers(1, 256), st.floats(0, 1), st.booleans(), st.integers(0, 99))
def test_from_codes(size, entries, density, masked, seed):
    generator = np.random.default_rng(seed)
    codebook = generator.standard_normal(entries).astype(np.float32)
    codebook[0] = 0.0
    codes = (generator.integers(0, entries, size) * (generator.random(size) < density)).astype(
        np.uint8
    )
    tensor = EncodedTensor.from_codes(
        generator.random(size) < 0.9 if masked else None, codes, codebook
    )
    assert_identical(round_trip(tensor).decode(), tensor.decode())
    if masked:
        assert np.array_equal(tensor.mask, tensor.codes != 0)
    else:
        assert np.array_equal(tensor.decode(), codebook[codes])


@pytest.mark.parametrize("gap", [1, 100, 70_000, 200_000])
@pytest.mark.parametrize("coded", [False, True])
def test_gaps_beyond_every_field(gap, coded):
    array = np.zeros(5 * gap + 3, dtype=np.float32)
    array[gap - 1 :: gap] = np.arange(1, 1 + len(array[gap - 1 :: gap])) if not coded else 2.5
    mask = array != 0
    if coded:
        tensor = EncodedTensor.from_codes(
            mask, mask.astype(np.uint8), np.array([0, 2.5], np.float32)
        )
    else:
        tensor = EncodedTensor.from_values(mask, array[mask])
    assert_identical(round_trip(tensor).decode(), array)
    assert 1 <= tensor.choices.gap_bits <= 16


def test_kept_zeros_leave_the_mask_but_negative_zeros_stay():
    tensor = EncodedTensor.from_values(
        np.array([True, True, False, True]), np.array([0.0, -0.0, 3.0], dtype=np.float32)
    )
    assert tensor.mask.tolist() == [False, True, False, True]
    assert_identical(round_trip(tensor).decode(), np.array([0.0, -0.0, 0.0, 3.0], dtype=np.float32))


def test_joint_symbols_where_gap_and_code_depend_on_each_other():
    generator = np.random.default_rng(0)
    gaps = generator.integers(0, 16, 4000)
    positions = np.cumsum(gaps + 1) - 1
    codes = np.zeros(positions[-1] + 1, dtype=np.uint8)
    codes[positions] = gaps + 1
    tensor = EncodedTensor.from_codes(codes != 0, codes, np.arange(17, dtype=np.float32))
    assert tensor.choices.joint
    assert tensor.nbytes().indices == 0
    assert tensor.nbytes().weights <= 4000 * 4.1 / 8  # of about 8 bits, were they apart
    round_trip(tensor)


def test_half_precision_centroids_take_two_bytes():
    codes = np.arange(4096, dtype=np.uint8).reshape(64, 64) % 64
    exact = np.random.default_rng(0).standard_normal(64).astype(np.float16).astype(np.float32)
    full = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    half = EncodedTensor.from_codes(None, codes, exact)
    assert half.nbytes().codebook <= 2 + 2 * 64
    assert half.nbytes().codebook < EncodedTensor.from_codes(None, codes, full).nbytes().codebook
    assert_identical(round_trip(half).codebook, exact)


def test_a_codebook_is_used_only_where_it_pays():
    generator = np.random.default_rng(0)
    few = generator.standard_normal(16).astype(np.float32)
    assert EncodedTensor.from_dense(few[generator.integers(0, 16, 500)]).codes is not None
    assert EncodedTensor.from_dense(few).codes is None
    assert EncodedTensor.from_dense(generator.standard_normal(500).astype(np.float32)).mask is None


def test_bad_arguments():
    with pytest.raises(EncodingError, match="expected one of"):
        EncodedTensor.from_dense(np.array(["a"]))
    with pytest.raises(EncodingError, match="starts with"):
        EncodedTensor.from_codes(np.ones(2, bool), np.zeros(2, np.uint8), np.ones(2, np.float32))
    with pytest.raises(EncodingError, match="exceeds the codebook"):
        EncodedTensor.from_codes(None, np.array([2], np.uint8), np.ones(2, np.float32))
    with pytest.raises(EncodingError, match="kept positions"):
        EncodedTensor.from_values(np.ones(2, bool), np.ones(3, np.float32))
    with pytest.raises(EncodingError, match="masks and codebooks need"):
        EncodedTensor.from_codes(None, np.zeros(2, np.uint8), np.ones(2, np.int32))
    with pytest.raises(EncodingError, match="limit"):
        EncodedTensor.from_bytes(
            EncodedTensor.from_dense(np.zeros(1000)).to_bytes(), max_bytes=9999
        )


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_end_in_an_error_or_a_tensor(data):
    try:
        tensor = EncodedTensor.from_bytes(data, max_bytes=1 << 24)
    except EncodingError:
        return
    assert tensor.decode().shape == tensor.shape


def test_lengths_beside_a_zero_are_bounded_too():
    for lengths in ([0, 1 << 40, 1 << 40], [0] * 33):
        with pytest.raises(EncodingError):
            EncodedTensor.from_bytes(bytes([0]) + b"".join(map(varint, [len(lengths), *lengths])))


def test_bfloat16_is_no_float16():
    array = np.array([1.0, 3.0e38, 0.0], dtype=ml_dtypes.bfloat16)
    assert round_trip(EncodedTensor.from_dense(array)).dtype == "bfloat16"


def test_bytes_without_entropy_coding_are_those_of_fixed_widths():
    generator = np.random.default_rng(0)
    mask = generator.random((60, 70)) < 0.1
    codes = generator.integers(1, 16, mask.shape).astype(np.uint8) * mask
    codebook = np.concatenate([[0], generator.standard_normal(15)]).astype(np.float32)
    tensor = EncodedTensor.from_codes(mask, codes, codebook)
    fixed, coded = tensor.nbytes(entropy_coded=False), tensor.nbytes()
    positions = np.flatnonzero(mask)
    counts = {bits: len(to_entries(positions, mask.size, bits)[0]) for bits in range(1, 17)}
    sizes = {bits: -(-n * 4 // 8) + -(-n * bits // 8) for bits, n in counts.items()}
    assert fixed.weights + fixed.indices == min(sizes.values())
    assert fixed.codebook == 1 + 1 + 15 * 4  # entries, method, values
    assert coded.total < fixed.total
    assert tensor.nbytes() == coded  # what is stored is not changed by the question


def test_raw_values_without_compression_are_as_long_as_they_are():
    tensor = EncodedTensor.from_values(None, np.ones((40, 50), np.float32))
    assert tensor.nbytes(entropy_coded=False).weights == 1 + 8000
    assert tensor.nbytes().weights < 100
