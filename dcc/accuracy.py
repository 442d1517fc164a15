"""Accuracy of a compiled module on labelled data: the largest value of its first output."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.datasets import LabelledData
from dcc.errors import InputError
from dcc.progress import track
from dcc.running import RunnableModule
from dcc.tensor_spec import TensorSpec


def module_accuracy(module: RunnableModule, data: LabelledData) -> float:
    """Accuracy in percent.

    Raises
    ------
    InputError
        The data do not fit the model's input, or a label is none of its classes.
    """
    spec = classifier_input(module)
    answers = []
    for batch in track("testing the compiled module", data.batches(spec)):
        output = module(batch)[0]
        answers.append(classes(output, spec.shape[0]))
        number = output.size // spec.shape[0]
        if int(data.labels.max()) >= number:
            raise InputError(
                f"the labels go up to {int(data.labels.max())}, the model's first output has "
                f"{number} values a sample: classes 0 to {number - 1}"
            )
    right = np.concatenate(answers)[: len(data.labels)] == data.labels
    return 100.0 * int(right.sum()) / len(data.labels)


def classifier_input(module: RunnableModule) -> TensorSpec:
    """Return the one input of a module that labelled samples can go to.

    Raises
    ------
    InputError
        It has several, or one without a batch dimension.
    """
    if len(module.inputs) != 1:
        names = ", ".join(spec.name for spec in module.inputs)
        raise InputError(f"--data needs a model with one input, this one has {names}")
    spec = module.inputs[0]
    if not spec.shape:
        raise InputError(f"--data needs an input with a batch dimension, '{spec.name}' has none")
    return spec


def classes(output: npt.NDArray[np.generic], batch: int) -> npt.NDArray[np.intp]:
    """Index of the largest value for each sample of the batch.

    Raises
    ------
    InputError
        The output does not have as many values for each sample.
    """
    if not output.size or output.size % batch:
        raise InputError(f"--data: an output of shape {list(output.shape)} has no value per sample")
    return output.reshape(batch, -1).argmax(1)
