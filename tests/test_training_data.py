"""Splits: the test split stays apart, the validation split is held out of the training set."""

import numpy as np
import pytest
from test_datasets import idx_bytes

from dcc.datasets import LabelledData
from dcc.errors import InputError

torch = pytest.importorskip("torch")

from dcc.training.data import read_splits, to_tensors  # noqa: E402
from dcc.training.evaluate import evaluate  # noqa: E402


def write_pair(folder, prefix, first, count):
    images = np.arange(first, first + count, dtype=np.uint8)[:, None, None]
    labels = (images.reshape(-1) % 2).astype(np.uint8)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def identities(data, scale=256):
    return set((data.samples.reshape(-1) * scale).astype(int))


def test_folder_keeps_its_test_files_apart(tmp_path):
    write_pair(tmp_path, "train", 0, 48)
    write_pair(tmp_path, "t10k", 100, 10)
    splits = read_splits(tmp_path)
    assert identities(splits.test) == set(range(100, 110))
    assert identities(splits.train) | identities(splits.validation) == set(range(48))
    assert not identities(splits.train) & identities(splits.validation)
    assert len(splits.validation.labels) == 4
    assert "44 to train, 4 to validate, 10 to test" in splits.describe()
    again = read_splits(tmp_path)
    np.testing.assert_array_equal(again.validation.samples, splits.validation.samples)


def test_folder_without_training_files(tmp_path):
    write_pair(tmp_path, "t10k", 0, 10)
    with pytest.raises(InputError, match="train-images"):
        read_splits(tmp_path)


def test_npz_with_and_without_test_arrays(tmp_path):
    samples, labels = np.arange(120.0)[:, None], np.arange(120) % 4
    np.savez(tmp_path / "a.npz", x=samples, y=labels)
    splits = read_splits(tmp_path / "a.npz")
    assert (len(splits.train.labels), len(splits.validation.labels)) == (88, 8)
    assert np.bincount(splits.test.labels).tolist() == [6] * 4
    parts = [identities(part, 1) for part in (splits.train, splits.validation, splits.test)]
    assert set.union(*parts) == set(range(120))
    assert sum(map(len, parts)) == 120
    np.savez(tmp_path / "b.npz", x=samples, y=labels, x_test=samples + 500, y_test=labels)
    assert identities(read_splits(tmp_path / "b.npz").test, 1) == set(range(500, 620))
    apart = read_splits(tmp_path / "a.npz", test=tmp_path / "b.npz")
    assert identities(apart.test, 1) == set(range(120))
    assert identities(read_splits(tmp_path / "b.npz", scale=2).test, 1) == set(range(250, 310))
    np.savez(tmp_path / "c.npz", x=samples, y=labels, x_test=samples, y_test=labels - 1)
    with pytest.raises(InputError, match=r"c.npz, x_test and y_test.* label 0 is -1"):
        read_splits(tmp_path / "c.npz")


def test_too_few_samples_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.arange(3))
    with pytest.raises(InputError, match="too few"):
        read_splits(tmp_path / "a.npz")


def test_tensors_take_the_shape_of_the_input():
    data = LabelledData(np.zeros((5, 6)), np.zeros(5, np.uint8))
    samples, labels = to_tensors(data, (1, 2, 3), torch.device("cpu"))
    assert samples.shape == (5, 1, 2, 3)
    assert labels.dtype == torch.int64
    with pytest.raises(InputError, match="6 elements"):
        to_tensors(data, (7,), torch.device("cpu"))


def test_accuracy_and_loss():
    samples = torch.eye(3).repeat(5, 1)
    labels = torch.tensor([0, 1, 2] * 4 + [0, 1, 0])
    result = evaluate(lambda batch: 100 * batch, samples, labels, batch=4)
    assert result.accuracy == pytest.approx(100 * 14 / 15)
    assert result.loss == pytest.approx(100 / 15, rel=1e-5)
    with pytest.raises(InputError, match=r"labels go up to 3, .* has 3 values a sample"):
        evaluate(lambda batch: batch, samples, labels + 1)
