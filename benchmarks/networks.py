"""AlexNet, VGG-16 and SqueezeNet in ONNX with random weights.

Architectures and densities: Deep Compression (Han, Mao, Dally 2016), Tables 4 and 5; SqueezeNet
(Iandola et al. 2016), Table 1, column "sparsity".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from layer_cases import CONVOLUTIONS, LAYERS, Case
from network_graph import Draw, NetworkGraph

POOLED = {"VGG-conv1_2", "VGG-conv2_2", "VGG-conv3_3", "VGG-conv4_3", "VGG-conv5_3"}
"""Convolutions of VGG-16 that a maximum over 2 x 2 pixels follows."""
NORMALISATION = {"size": 5, "alpha": 1e-4, "beta": 0.75}
"""Of AlexNet, across channels."""
FIRE_MODULES = (
    # Outputs of squeeze and expand; densities of squeeze, expand 1x1 and expand 3x3.
    (16, 64, 1.0, 1.0, 0.33),
    (16, 64, 1.0, 1.0, 0.33),
    (32, 128, 1.0, 1.0, 0.33),
    (32, 128, 1.0, 1.0, 0.33),
    (48, 192, 1.0, 0.5, 0.33),
    (48, 192, 0.5, 1.0, 0.33),
    (64, 256, 1.0, 0.5, 0.33),
    (64, 256, 0.5, 1.0, 0.30),
)
MOST_POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}


def alexnet(draw: Draw, seed: int) -> NetworkGraph:
    """Krizhevsky et al. 2012: an image of 227 x 227 to 1000 numbers."""
    graph = NetworkGraph("alexnet", 227, draw, seed)
    cases = [case for case in CONVOLUTIONS if case.name.startswith("Alex")]
    graph.convolution(Case("Alex-conv1", (96, 3, 11, 11), 0.84, levels=256), strides=[4, 4])
    for case in cases:
        if case is cases[0] or case is cases[1]:
            graph.add("LRN", **NORMALISATION)
            graph.add("MaxPool", **MOST_POOL)
        graph.convolution(case, pads=[case.weight_shape[2] // 2] * 4, group=case.groups)
    graph.add("MaxPool", **MOST_POOL)
    graph.classifier([case for case in LAYERS if case.name.startswith("Alex")])
    return graph


def vgg16(draw: Draw, seed: int) -> NetworkGraph:
    """Simonyan and Zisserman 2015: an image of 224 x 224 to 1000 numbers."""
    graph = NetworkGraph("vgg16", 224, draw, seed)
    for case in CONVOLUTIONS:
        if case.name.startswith("VGG"):
            graph.convolution(case, pads=[1, 1, 1, 1])
            if case.name in POOLED:
                graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    graph.classifier([case for case in LAYERS if case.name.startswith("VGG")])
    return graph


def squeezenet(draw: Draw, seed: int) -> NetworkGraph:
    """Iandola et al. 2016, the first version: an image of 227 x 227 to 1000 numbers."""
    graph = NetworkGraph("squeezenet", 227, draw, seed)
    graph.convolution(_squeeze_case("conv1", 3, 96, 7, 1.0), strides=[2, 2])
    channels = 96
    for number, (squeeze, expand, *densities) in enumerate(FIRE_MODULES, start=2):
        if number in (2, 5, 9):
            graph.add("MaxPool", **MOST_POOL)
        cases = _fire_module(f"fire{number}", channels, squeeze, expand, densities)
        graph.convolution(next(cases))
        between = graph.output
        branches = []
        for case in cases:
            graph.output = between
            graph.convolution(case, pads=[case.weight_shape[2] // 2] * 4)
            branches.append(graph.output)
        graph.concatenate(branches)
        channels = 2 * expand
    graph.convolution(_squeeze_case("conv10", channels, 1000, 1, 0.20))
    graph.add("GlobalAveragePool")
    graph.add("Flatten")
    return graph


def _fire_module(
    name: str, channels: int, squeeze: int, expand: int, densities: list[float]
) -> Iterator[Case]:
    yield _squeeze_case(f"{name}/squeeze1x1", channels, squeeze, 1, densities[0])
    yield _squeeze_case(f"{name}/expand1x1", squeeze, expand, 1, densities[1])
    yield _squeeze_case(f"{name}/expand3x3", squeeze, expand, 3, densities[2])


def _squeeze_case(name: str, channels: int, outputs: int, size: int, density: float) -> Case:
    return Case(name, (outputs, channels, size, size), density, levels=64)


def gaussian_weight(case: Case, generator: np.random.Generator) -> np.ndarray:
    """Draw a weight as it is before anything is pruned."""
    return generator.standard_normal(case.weight_shape, dtype=np.float32)


NETWORKS: dict[str, Callable[[Draw, int], NetworkGraph]] = {
    "alexnet": alexnet,
    "vgg16": vgg16,
    "squeezenet": squeezenet,
}
