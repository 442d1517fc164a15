"""The layers that ``layers.py`` times: their shapes, densities, random weights and ONNX models.

Sources: EIE (Han et al. 2016), Table III, for the nine fully connected layers; Deep Compression
(Han et al. 2016), Tables 4 and 5, for the densities of the convolutions of AlexNet and VGG-16.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

CodeDistribution = Literal["laplacian", "yardstick"]
STEP = np.float32(0.01)
"""Distance between neighbouring values of a codebook."""
LAPLACIAN_SCALE = 0.25
"""Mean magnitude of a weight over the largest of its codebook."""


@dataclass(frozen=True)
class Case:
    """A layer to time, and how its weight is drawn.

    Attributes
    ----------
    weight_shape
        ``(inputs, outputs)`` of a matrix product, ``(outputs, inputs / groups, height, width)`` of
        a convolution of stride 1 that keeps the size of the image.
    side
        Height and width of the image; 0 for a matrix product.
    density
        Share of the weight that is not zero, at random positions.
    levels
        Entries of the codebook, zero among them.
    """

    name: str
    weight_shape: tuple[int, ...]
    density: float
    side: int = 0
    groups: int = 1
    levels: int = 16
    codes: CodeDistribution = "laplacian"

    def input_shape(self, batch: int) -> list[int]:
        """Shape of ``x``."""
        if self.side:
            return [batch, self.weight_shape[1] * self.groups, self.side, self.side]
        return [batch, self.weight_shape[0]]

    def output_shape(self, batch: int) -> list[int]:
        """Shape of ``y``."""
        if self.side:
            return [batch, self.weight_shape[0], self.side, self.side]
        return [batch, self.weight_shape[1]]


def _convolution(name: str, channels: int, outputs: int, side: int, density: float) -> Case:
    return Case(name, (outputs, channels, 3, 3), density, side, levels=256)


LAYERS = (
    Case("Alex-6", (9216, 4096), 0.09),
    Case("Alex-7", (4096, 4096), 0.09),
    Case("Alex-8", (4096, 1000), 0.25),
    Case("VGG-6", (25088, 4096), 0.04),
    Case("VGG-7", (4096, 4096), 0.04),
    Case("VGG-8", (4096, 1000), 0.23),
    Case("NT-We", (4096, 600), 0.10),
    Case("NT-Wd", (600, 8791), 0.11),
    Case("NT-LSTM", (1201, 2400), 0.10),
)
CONVOLUTIONS = (
    Case("Alex-conv2", (256, 48, 5, 5), 0.38, 27, 2, 256),
    Case("Alex-conv3", (384, 256, 3, 3), 0.35, 13, 1, 256),
    Case("Alex-conv4", (384, 192, 3, 3), 0.37, 13, 2, 256),
    Case("Alex-conv5", (256, 192, 3, 3), 0.37, 13, 2, 256),
    _convolution("VGG-conv1_1", 3, 64, 224, 0.58),
    _convolution("VGG-conv1_2", 64, 64, 224, 0.22),
    _convolution("VGG-conv2_1", 64, 128, 112, 0.34),
    _convolution("VGG-conv2_2", 128, 128, 112, 0.36),
    _convolution("VGG-conv3_1", 128, 256, 56, 0.53),
    _convolution("VGG-conv3_2", 256, 256, 56, 0.24),
    _convolution("VGG-conv3_3", 256, 256, 56, 0.42),
    _convolution("VGG-conv4_1", 256, 512, 28, 0.32),
    _convolution("VGG-conv4_2", 512, 512, 28, 0.27),
    _convolution("VGG-conv4_3", 512, 512, 28, 0.34),
    _convolution("VGG-conv5_1", 512, 512, 14, 0.35),
    _convolution("VGG-conv5_2", 512, 512, 14, 0.29),
    _convolution("VGG-conv5_3", 512, 512, 14, 0.36),
)


def at_density(case: Case, density: float) -> Case:
    """Return the same layer with another share of non-zeros."""
    return replace(case, density=density)


def random_weight(case: Case, generator: np.random.Generator) -> np.ndarray:
    """Draw a weight, float32 of ``case.weight_shape``."""
    weight = np.zeros(case.weight_shape, np.float32)
    kept = generator.random(case.weight_shape, dtype=np.float32) < case.density
    levels = _draw_levels(case, int(kept.sum()), generator)
    weight[kept] = levels.astype(np.float32) * STEP
    return weight


def _draw_levels(case: Case, count: int, generator: np.random.Generator) -> np.ndarray:
    """Draw non-zero integers: multiples of ``STEP``."""
    if case.codes == "yardstick":  # as huffman_gemv.c draws them
        levels = generator.integers(0, 4, (3, count), dtype=np.int8).sum(0) - 4
        return np.where(levels == 0, 1, levels)
    choices = np.array([n for n in range(1 - case.levels // 2, case.levels // 2 + 1) if n])
    chances = np.exp(-np.abs(choices) / (LAPLACIAN_SCALE * case.levels / 2))
    return generator.choice(choices.astype(np.int16), count, p=chances / chances.sum())


def layer_model(case: Case, batch: int, seed: int) -> onnx.ModelProto:
    """Make an ONNX model ``x -> y`` of the layer alone."""
    if case.side:
        pads = [size // 2 for size in case.weight_shape[2:]] * 2
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=pads, group=case.groups)
    else:
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, case.input_shape(batch))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, case.output_shape(batch))],
        [numpy_helper.from_array(random_weight(case, np.random.default_rng(seed)), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
