"""A network and data to train, small enough for an epoch in a blink."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from onnx_models import make_model

CLASSES, PIXELS, HIDDEN = 4, 24, 64


def samples(count, seed):
    """Samples [count, PIXELS] (float32) and labels [count]: a bright quarter, and noise."""
    return _noisy(np.eye(CLASSES).repeat(PIXELS // CLASSES, 1), 0.3, count, seed)


def hard_samples(count, seed):
    """Samples of ten classes that overlap: accuracy falls bit by bit, not from all to nothing."""
    return _noisy(np.random.default_rng(5).choice([-1.0, 1.0], (10, PIXELS)), 1.0, count, seed)


def _noisy(means, spread, count, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(means), count)
    noise = spread * generator.standard_normal((count, PIXELS))
    return (means[labels] + noise).astype(np.float32), labels


def network() -> onnx.ModelProto:
    """Two fully connected layers that have learnt nothing."""
    generator = np.random.default_rng(0)

    def draw(*shape):
        return (generator.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    weights = {
        "w1": draw(HIDDEN, PIXELS), "b1": draw(HIDDEN),
        "w2": draw(CLASSES, HIDDEN), "b2": draw(CLASSES),
    }  # fmt: skip
    return _model(weights)


def fitted_network() -> onnx.ModelProto:
    """Knows the classes of ``hard_samples``, by least squares in its last layer."""
    weights = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in network().graph.initializer
    }
    x, labels = hard_samples(2000, 9)
    hidden = np.maximum(x @ weights["w1"].T + weights["b1"], 0)
    solution = np.linalg.lstsq(np.c_[hidden, np.ones(len(x))], np.eye(10)[labels], rcond=None)[0]
    last = {"w2": solution[:-1].T, "b2": solution[-1]}
    return _model(weights | {name: value.astype(np.float32) for name, value in last.items()})


def _model(weights):
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], transB=1),
    ]
    return make_model(nodes, {"x": ["N", PIXELS]}, {"y": ["N", len(weights["b2"])]}, weights)
