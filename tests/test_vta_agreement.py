"""Shared models in int8 against float, on inputs with the statistics of the first layer."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from vta_agreement import CASES, agreement_of, compared, generated, input_statistics


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case.name.startswith("mlperf") else pytest.mark.slow)
        for case in CASES
    ],
    ids=[case.name for case in CASES],
)
def test_agreement(case, tmp_path, shared_model):
    source = shared_model(f"{case.name}.onnx")
    shapes = {name: [10, *shape[1:]] for name, shape in case.shapes.items()}
    found = agreement_of(replace(case, shapes=shapes), source.parent, tmp_path, 60)
    assert found.sqnr >= 15
    assert found.sure >= 0.97


def test_generated_inputs_have_the_statistics_of_the_first_layer(shared_model):
    """The first convolution's outputs have the running mean of its norm, about the variance."""
    case = CASES[0]
    source = shared_model(f"{case.name}.onnx")
    graph = onnx.load(source).graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    weight = arrays[graph.node[0].input[1]].astype(np.float64)
    norm = graph.node[1]
    statistics = input_statistics(source, 2)
    x = generated(case, (50, 3, 32, 32), statistics, np.random.default_rng(0))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    outputs = np.einsum("bchwij,ocij->obhw", windows, weight, optimize=True)
    outputs = outputs.reshape(len(weight), -1)
    deviations = np.sqrt(arrays[norm.input[4]])
    assert 0.95 < np.median(outputs.std(1) / deviations) < 1.05
    shift = (outputs.mean(1) - arrays[norm.input[3]]) / deviations
    assert np.abs(shift).max() < 0.3


def test_comparison_of_outputs():
    random = np.random.default_rng(0)
    logits = random.standard_normal((400, 10))
    assert compared(logits, logits).sqnr == np.inf
    noisy = compared(logits + 0.1 * random.standard_normal(logits.shape), logits)
    assert 19 < noisy.sqnr < 21
    assert noisy.every < noisy.sure == 1.0
    # A softmax changes nothing: the logarithms are the logits up to a constant.
    soft = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert compared(soft, soft * np.exp(1e-9)).sqnr > 60
