"""VGG-16 in ONNX with random weights, pruned to the densities of Deep Compression, Table 5."""

from __future__ import annotations

import numpy as np
import onnx
from layer_cases import CONVOLUTIONS, LAYERS, Case, random_weight
from onnx import helper, numpy_helper

CONVOLUTIONAL = tuple(case for case in CONVOLUTIONS if case.name.startswith("VGG"))
CONNECTED = tuple(case for case in LAYERS if case.name.startswith("VGG"))
POOLED = {"VGG-conv1_2", "VGG-conv2_2", "VGG-conv3_3", "VGG-conv4_3", "VGG-conv5_3"}
"""Convolutions that a maximum over 2 x 2 pixels follows."""


class _Graph:
    """Nodes and weights in the order of the layers, each reading what the last one wrote."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.output = "x"
        self._generator = np.random.default_rng(seed)

    def add(self, operator: str, *weights: str, **attributes: object) -> None:
        """Append a node."""
        output = f"{operator.lower()}{len(self.nodes)}"
        inputs = [self.output, *weights]
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        self.output = output

    def weight(self, case: Case) -> tuple[str, str]:
        """Append a random weight that keeps the scale of what passes, and a bias."""
        values = random_weight(case, self._generator)
        axes = tuple(range(1, values.ndim)) if case.side else 0
        power = np.square(values).sum(axis=axes, dtype=np.float64).mean()
        values *= np.float32(np.sqrt(2 / power))  # half of it passes the ReLU before
        bias = np.full(case.output_shape(1)[1], 0.01, np.float32)
        names = f"{case.name}.weight", f"{case.name}.bias"
        self.weights += [
            numpy_helper.from_array(array, name)
            for array, name in zip((values, bias), names, strict=True)
        ]
        return names


def vgg16(seed: int) -> onnx.ModelProto:
    """Make the model: one image of 224 x 224 to 1000 numbers."""
    graph = _Graph(seed)
    for case in CONVOLUTIONAL:
        graph.add("Conv", *graph.weight(case), pads=[1, 1, 1, 1])
        graph.add("Relu")
        if case.name in POOLED:
            graph.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    graph.add("Flatten")
    for case in CONNECTED:
        graph.add("Gemm", *graph.weight(case))
        if case is not CONNECTED[-1]:
            graph.add("Relu")
    image = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 224, 224])
    classes = helper.make_tensor_value_info(graph.output, onnx.TensorProto.FLOAT, [1, 1000])
    made = helper.make_graph(graph.nodes, "vgg16", [image], [classes], graph.weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
