"""Reading inputs and labelled data, and drawing random inputs."""

import gzip
import re
import struct

import numpy as np
import pytest

from dcc.datasets import read_arrays, read_labelled, read_npz_test, read_test
from dcc.errors import InputError
from dcc.random_inputs import random_inputs
from dcc.tensor_spec import TensorSpec


def idx_bytes(array):
    codes = {"uint8": 8, "int32": 12, "float32": 13}
    header = struct.pack(">HBB", 0, codes[array.dtype.name], array.ndim)
    header += struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def digits():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (5, 4, 3), np.uint8), np.arange(5, dtype=np.uint8)


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_idx_folder(tmp_path, digits, pack):
    images, labels = digits
    for prefix, count in (("t10k", 5), ("train", 2)):
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(pack(idx_bytes(images[:count])))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(pack(idx_bytes(labels[:count])))
    data = read_labelled(tmp_path)
    np.testing.assert_array_equal(data.labels, labels)
    np.testing.assert_array_equal(data.samples, (images / 256).astype(np.float32))
    np.testing.assert_array_equal(read_labelled(tmp_path, scale=1).samples, images)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:3], lambda b: b"\1" + b[1:], lambda b: b"\x1f\x8b" + b],
)
def test_damaged_idx(tmp_path, digits, damage):
    (tmp_path / "images-idx").write_bytes(damage(idx_bytes(digits[0])))
    (tmp_path / "labels-idx").write_bytes(idx_bytes(digits[1]))
    with pytest.raises(InputError, match="images-idx"):
        read_labelled(tmp_path)


def test_folder_without_idx_files(tmp_path):
    with pytest.raises(InputError, match="expected one IDX file of images"):
        read_labelled(tmp_path)


def test_npz(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.full((3, 2), 8.0, np.float32), y=[0, 1, 1])
    data = read_labelled(path, scale=4)
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.samples, np.full((3, 2), 2.0))
    with pytest.raises(InputError, match="--scale must not be 0"):
        read_labelled(path, scale=0)


def test_batches_are_filled_up(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(12.0).reshape(3, 4), y=[0, 1, 2])
    data = read_labelled(path)
    batches = data.batches(TensorSpec("x", (2, 2, 2), "float32"))
    assert [batch.shape for batch in batches] == [(2, 2, 2)] * 2
    assert batches[1].dtype == np.float32
    np.testing.assert_array_equal(batches[1].reshape(2, 4)[0], [8, 9, 10, 11])
    assert not batches[1][1].any()
    with pytest.raises(InputError, match=r"4 elements \[4\], the input 'x' takes 3 \[3\]"):
        data.batches(TensorSpec("x", (1, 3), "float32"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 2))}, "expected x .* and y"),
        ({"x": np.zeros((2, 2)), "y": np.zeros(3)}, r"got shapes \[2, 2\] and \[3\]"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "expected samples"),
        ({"x": np.zeros((1, 2)), "y": np.array([{}], object)}, "not an .npz file that can be read"),
        ({"x": np.zeros((2, 2)), "y": [0, -1]}, "label 1 is -1"),
        ({"x": np.zeros((2, 2)), "y": [0.5, 1]}, "label 0 is 0.5"),
        ({"x": np.zeros((2, 2)), "y": [1, np.nan]}, "label 1 is nan"),
        ({"x": np.zeros((2, 2)), "y": ["a", "b"]}, r"expected labels 0, 1, \.\.\. .* got <U1"),
        ({"x": np.array([["a"]]), "y": [0]}, "samples that are numbers, got <U1"),
        ({"x": [[[0, 1]], [[np.inf, 1]]], "y": [0, 0]}, "sample 1 holds NaN or infinity"),
    ],
)
def test_wrong_npz(tmp_path, arrays, message):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        read_labelled(path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no", b"text", b"\x93NUMPY\1\0"])
def test_no_npz_at_all(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="data"):
        read_arrays(path)
    with pytest.raises(InputError, match="there is no file"):
        read_arrays(tmp_path / "other.npz")


def test_what_is_no_npz_is_named(tmp_path):
    text, objects = tmp_path / "text.npz", tmp_path / "objects.npz"
    text.write_text("1, 2, 3")
    np.savez(objects, x=np.array([None, {}], dtype=object))
    for path, message in (
        (tmp_path, "is a folder; expected an .npz file"),
        (text, "is not an .npz file: it begins with b'1, 2, "),
        (objects, "it holds Python objects; expected arrays of numbers"),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as refusal:
            read_arrays(path)
        assert "allow_pickle" not in str(refusal.value)
    with pytest.raises(InputError, match=r"there is no file or folder '.*nothing'; expected an"):
        read_labelled(tmp_path / "nothing")


def test_half_a_test_split_is_refused(tmp_path):
    x, y = np.zeros((4, 2)), np.arange(4)
    np.savez(tmp_path / "half.npz", x=x, y=y, x_test=x)
    with pytest.raises(InputError, match="holds x_test and no y_test; expected both"):
        read_npz_test(tmp_path / "half.npz")


def test_a_bare_array_is_no_npz(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(2))
    with pytest.raises(InputError, match="one bare array"):
        read_arrays(tmp_path / "x.npy")


def test_random_inputs():
    specs = [
        TensorSpec("image", (2, 500), "float32"),
        TensorSpec("index", (400,), "int64"),
        TensorSpec("rate", (), "int64"),
        TensorSpec("flag", (3,), "bool"),
    ]
    first = random_inputs(specs, seed=1, ranges={"index": (2, 4)})
    again = random_inputs(specs, seed=1, ranges={"index": (2, 4)})
    for spec in specs:
        assert first[spec.name].shape == spec.shape
        assert first[spec.name].dtype == spec.dtype
        np.testing.assert_array_equal(first[spec.name], again[spec.name])
    assert abs(float(first["image"].std()) - 1) < 0.1
    assert set(first["index"].tolist()) == {2, 3, 4}
    assert first["rate"] == 0
    assert not first["flag"].any()
    uniform = random_inputs(specs, ranges={"image": (-1, 1)})["image"]
    assert -1 <= uniform.min() < -0.9
    assert 0.9 < uniform.max() <= 1


def test_wrong_ranges():
    specs = [TensorSpec("x", (1,), "float32")]
    with pytest.raises(InputError, match="inputs are x"):
        random_inputs(specs, ranges={"y": (0, 1)})
    with pytest.raises(InputError, match="exceeds"):
        random_inputs(specs, ranges={"x": (1, 0)})


def test_what_to_test_on(tmp_path):
    x, y = np.zeros((6, 4), np.float32), np.arange(6)
    np.savez(tmp_path / "all.npz", x=x, y=y)
    np.savez(tmp_path / "split.npz", x=x, y=y, x_test=x[:2], y_test=y[:2])
    found, about = read_test(tmp_path / "all.npz")
    assert len(found.labels) == 6
    assert about == "all samples of the file"
    found, about = read_test(tmp_path / "split.npz")
    assert found.labels.tolist() == [0, 1]
    assert about == "x_test and y_test of the file"
