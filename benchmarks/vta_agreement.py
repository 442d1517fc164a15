"""Agreement of int8 with float on inputs that are like the ones a model was trained on.

The inputs are smoothed noise from a seeded generator. Its mean and deviation are those for which
the outputs of the first convolution have the statistics that training left in the model, the
running mean and variance of the batch norm behind it; the variance in the median of them. Where
that is folded into the convolution, its outputs are taken to be normalised (mean 0, variance 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import dcc
from dcc.accelerator.reference import ReferenceExecutor

INPUTS = 1000
CHECKED = 2
_SMOOTHING = np.array([1.0, 2.0, 1.0])


@dataclass(frozen=True)
class Case:
    """A model that is compared with its float original.

    Attributes
    ----------
    smoothed
        Axes of the input along which neighbours are alike.
    """

    name: str
    shapes: dict[str, list[int]]
    smoothed: tuple[int, ...]


CASES = (
    Case("resnet20_cifar10_akamaster", {"input": [50, 3, 32, 32]}, (2, 3)),
    Case("mlperf_tiny_kws_dscnn_f32", {"input_1": [50, 49, 10, 1]}, (1,)),
    Case("arm_kws_ds_cnn_l", {}, (1,)),
    Case("arm_kws_cnn_l", {}, (1,)),
)


@dataclass(frozen=True)
class Statistics:
    """Of the input: its mean for each channel, and its standard deviation."""

    mean: np.ndarray
    deviation: float


def input_statistics(path: Path, axes: int) -> Statistics:
    """Fit the statistics of the input to those of the first convolution's outputs.

    Parameters
    ----------
    axes
        Of the kernel's axes, the first so many see smoothed noise.
    """
    graph = onnx.load(path).graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    conv = next(node for node in graph.node if node.op_type == "Conv")
    weight = arrays[conv.input[1]].astype(np.float64)
    outputs, channels, *kernel = weight.shape
    bias = arrays[conv.input[2]] if len(conv.input) > 2 else np.zeros(outputs)
    mean, variance = np.zeros(outputs), np.ones(outputs)
    for node in graph.node:
        if node.op_type == "BatchNormalization" and node.input[0] == conv.output[0]:
            mean, variance = arrays[node.input[3]], arrays[node.input[4]]
    means = np.linalg.lstsq(weight.sum(axis=(2, 3)), mean - bias, rcond=None)[0]
    # The variance of an output, for an input of variance 1.
    alike = [_correlation(size) if n < axes else np.eye(size) for n, size in enumerate(kernel)]
    flat = weight.reshape(outputs, channels, -1)
    gains = np.einsum("ocp,pq,ocq->o", flat, np.kron(*alike), flat)
    return Statistics(means, float(np.sqrt(np.median(variance / gains))))


def _correlation(size: int) -> np.ndarray:
    """Correlation of smoothed noise with its neighbours."""
    lags = np.convolve(_SMOOTHING, _SMOOTHING)[len(_SMOOTHING) - 1 :]
    lags = np.concatenate([lags / lags[0], np.zeros(size)])
    return lags[np.abs(np.subtract.outer(np.arange(size), np.arange(size)))]


def generated(
    case: Case, shape: tuple[int, ...], statistics: Statistics, random: np.random.Generator
) -> np.ndarray:
    """Draw one input."""
    noise = random.standard_normal(shape)
    for axis in case.smoothed:
        parts = [np.roll(noise, n, axis) * weight for n, weight in enumerate(_SMOOTHING)]
        noise = np.sum(parts, axis=0) / np.sqrt(np.square(_SMOOTHING).sum())
    mean = statistics.mean.reshape((-1, 1, 1) if len(statistics.mean) > 1 else (1,))
    return (mean + statistics.deviation * noise).astype(np.float32)


@dataclass(frozen=True)
class Compared:
    """Shares of equal top classes, and signal to noise of the logits in dB.

    Attributes
    ----------
    sure
        Among the inputs whose margin in the float model is above the median.
    """

    every: float
    sure: float
    sqnr: float

    def __str__(self) -> str:
        return f"{100 * self.every:6.1f}%{100 * self.sure:24.1f}%{self.sqnr:6.1f} dB"


def compared(ours: np.ndarray, theirs: np.ndarray) -> Compared:
    """Compare outputs of shape (inputs, classes): logits, or what a softmax made of them."""
    same = ours.argmax(1) == theirs.argmax(1)
    if theirs.min() >= 0 and np.allclose(theirs.sum(1), 1, atol=1e-3):
        # Logits up to a constant: the logarithms, around their mean.
        ours, theirs = (np.log(np.maximum(each, 1e-6)) for each in (ours, theirs))
        ours, theirs = (each - each.mean(1, keepdims=True) for each in (ours, theirs))
    ranked = np.sort(theirs, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    noise = np.square(ours - theirs).sum()
    sqnr = 10 * np.log10(np.square(theirs).sum() / noise) if noise else np.inf
    return Compared(float(same.mean()), float(same[margin > np.median(margin)].mean()), float(sqnr))


def agreement_of(case: Case, models: Path, folder: Path, count: int = INPUTS) -> Compared:
    """Compile a model for VTA and compare it with its float module on generated inputs.

    The int8 outputs are those of the integer reference, which must equal the simulator's bit for
    bit on the first inputs.
    """
    source, path = models / f"{case.name}.onnx", folder / f"{case.name}.so"
    shapes = case.shapes or None
    host = dcc.load(dcc.compile(source, shapes=shapes))
    (spec,) = host.inputs
    random = np.random.default_rng(0)
    statistics = input_statistics(source, len(case.smoothed))

    def draw() -> dict[str, np.ndarray]:
        return {spec.name: generated(case, spec.shape, statistics, random)}

    calibration = [draw() for _ in range(max(50 // spec.shape[0], 1))]
    joined = {spec.name: np.concatenate([each[spec.name] for each in calibration])}
    dcc.compile(source, path, target="vta-sim", shapes=shapes, calibrate=joined)
    module = dcc.load(path)
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    outputs = []
    for number in range(-(-count // spec.shape[0])):
        inputs = draw()
        found = reference(inputs)
        if number < CHECKED:
            for ours, expected in zip(module(inputs), found, strict=True):
                np.testing.assert_array_equal(ours, expected)
        outputs.append((found[0], host(inputs)[0]))
    ours, theirs = (np.concatenate(side)[:count] for side in zip(*outputs, strict=True))
    return compared(ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1))


def print_agreement(models: Path, folder: Path) -> None:
    """Print the table."""
    print(f"\nagreement with the float model on {INPUTS:,} generated inputs")
    print(f"{'top class':28}{'all':>7}{'margin above the median':>25}{'SQNR':>9}  mean, deviation")
    for case in CASES:
        found = agreement_of(case, models, folder)
        fitted = input_statistics(models / f"{case.name}.onnx", len(case.smoothed))
        text = f"{np.round(fitted.mean, 2)}, {fitted.deviation:.2f}"
        print(f"{case.name:28}{found}  {text}", flush=True)
