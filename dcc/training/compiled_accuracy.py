"""Accuracy of the module that a model or container is compiled to."""

from __future__ import annotations

import numpy as np
import onnx

from dcc.compilation import compile
from dcc.container import Container
from dcc.datasets import LabelledData
from dcc.progress import track


def compiled_accuracy(model: onnx.ModelProto | Container, data: LabelledData) -> float:
    """Percentage of samples whose class has the largest value in the first output.

    A container's module computes from its compressed weights.

    Raises
    ------
    CompileError, InputError
        The model cannot be compiled, or the data do not fit.
    """
    module = compile(model).load()
    spec = module.inputs[0]
    answers = [
        module(batch)[0].reshape(spec.shape[0], -1).argmax(1)
        for batch in track("measuring accuracy", data.batches(spec))
    ]
    found = np.concatenate(answers)[: len(data.labels)]
    return 100.0 * float((found == data.labels).mean())
