"""Accuracy of a module on labelled data."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from dcc.accuracy import module_accuracy
from dcc.datasets import LabelledData
from dcc.errors import InputError
from dcc.tensor_spec import TensorSpec


@dataclass
class Echo:
    """Answers with its input: the class is the place of the largest element."""

    inputs: list[TensorSpec] = field(default_factory=lambda: [TensorSpec("x", (2, 3), "float32")])
    outputs: list[TensorSpec] = field(default_factory=list)
    metadata: dict = field(default_factory=dict)

    def __call__(self, *inputs):
        return [np.asarray(inputs[0])]


SAMPLES = np.eye(3, dtype=np.float32)


def test_the_last_batch_may_be_short():
    assert module_accuracy(Echo(), LabelledData(SAMPLES, np.array([0, 1, 0]))) == pytest.approx(
        200 / 3
    )


def test_labels_beyond_the_classes():
    with pytest.raises(InputError, match=r"go up to 7.*classes 0 to 2"):
        module_accuracy(Echo(), LabelledData(SAMPLES, np.array([0, 1, 7])))


def test_models_that_labelled_samples_do_not_fit():
    data = LabelledData(SAMPLES, np.array([0, 1, 2]))
    spec = TensorSpec("x", (2, 3), "float32")
    with pytest.raises(InputError, match="one input, this one has x, x"):
        module_accuracy(Echo([spec, spec]), data)
    with pytest.raises(InputError, match="batch dimension, 's' has none"):
        module_accuracy(Echo([TensorSpec("s", (), "float32")]), data)
    with pytest.raises(InputError, match="3 elements"):
        module_accuracy(Echo([TensorSpec("x", (1, 4), "float32")]), data)
