"""Labelled data cut into training, validation and test splits.

The test split is only for the figure at the end: it is never trained, tuned or selected on. The
validation split, which chooses between epochs, is held out of the training set.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dcc.datasets import LabelledData, read_labelled, read_npz_test, read_split
from dcc.errors import InputError

VALIDATION_SHARE = 1 / 12  # of MNIST's 60,000: 5,000
TEST_SHARE = 1 / 5
SPLIT_SEED = 0


@dataclass(frozen=True)
class Splits:
    """What to learn from, what to choose by, and what to report.

    Attributes
    ----------
    source
        One line that says where the three came from.
    """

    train: LabelledData
    validation: LabelledData
    test: LabelledData
    source: str

    def describe(self) -> str:
        """Sizes of the three and where they came from."""
        sizes = (
            f"{len(self.train.labels):,} to train, {len(self.validation.labels):,} to validate, "
            f"{len(self.test.labels):,} to test"
        )
        return f"{sizes} ({self.source})"

    def digest(self) -> str:
        """SHA-256 of what is learnt from and chosen by: other data give another training."""
        found = hashlib.sha256()
        for part in (self.train, self.validation):
            for array in (part.samples, part.labels):
                found.update(f"{array.dtype} {array.shape}".encode())
                found.update(np.ascontiguousarray(array).data.cast("B"))
        return found.hexdigest()


def read_splits(
    path: str | Path,
    test: str | Path | None = None,
    scale: float | None = None,
    seed: int = SPLIT_SEED,
) -> Splits:
    """Read data and split them.

    A folder of IDX files has a training and a test pair. An ``.npz`` file has ``x`` and ``y``, and
    perhaps ``x_test`` and ``y_test``; without these and without ``test``, a fifth of each class is
    held out. A twelfth of each class of what is left to train validates.

    Parameters
    ----------
    test
        Data of their own to test on, in the same formats.
    scale
        Divide the samples by this number (see :func:`dcc.datasets.read_labelled`).
    seed
        Of what is held out. It does not follow the seed of the training, so that figures of
        several seeds are figures on the same data.

    Raises
    ------
    InputError
        Something is missing or does not fit together.
    """
    held: LabelledData | None
    if Path(path).is_dir():
        train = read_split(path, "train", scale)
        held, source = read_labelled(path, scale), "the folder's training and test files"
    else:
        train = read_labelled(path, scale)
        held, source = read_npz_test(path, scale), "x_test and y_test of the file"
    if test is not None:
        held, source = read_labelled(test, scale), f"tested on {test}"
    if held is None:
        train, held = hold_out(train, TEST_SHARE, seed)
        source = f"a fifth held out to test, seed {seed}"
    train, validation = hold_out(train, VALIDATION_SHARE, seed)
    return Splits(
        train, validation, held, f"{source}; validation held out of training, seed {seed}"
    )


def hold_out(data: LabelledData, share: float, seed: int) -> tuple[LabelledData, LabelledData]:
    """Cut off ``share`` of each class, drawn by ``seed``.

    Returns
    -------
    tuple
        What is left, and what is held out; both in their old order.
    """
    generator = np.random.default_rng(seed)
    held = np.zeros(len(data.labels), dtype=np.bool_)
    for label in np.unique(data.labels):
        members = np.flatnonzero(data.labels == label)
        held[generator.permutation(members)[: round(share * len(members))]] = True
    if not held.any() or held.all():
        raise InputError(
            f"{len(data.labels)} samples are too few to hold out {share:.0%} of each class"
        )
    return (
        LabelledData(data.samples[~held], data.labels[~held]),
        LabelledData(data.samples[held], data.labels[held]),
    )


def to_tensors(
    data: LabelledData, sample_shape: tuple[int, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give samples [N, *sample_shape] (float32) and labels [N] (int64) on a device.

    Raises
    ------
    InputError
        The samples have another number of elements.
    """
    found, expected = data.samples[0].size, int(np.prod(sample_shape))
    if found != expected:
        raise InputError(
            f"each sample of the data has {found} elements {list(data.samples.shape[1:])}, the "
            f"model's input takes {expected} {list(sample_shape)}"
        )
    samples = np.ascontiguousarray(data.samples, dtype=np.float32).reshape(-1, *sample_shape)
    labels = np.ascontiguousarray(data.labels, dtype=np.int64)
    return torch.from_numpy(samples).to(device), torch.from_numpy(labels).to(device)
