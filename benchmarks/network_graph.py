"""A chain of ONNX nodes whose weights are drawn at random, each keeping the scale of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from layer_cases import Case
from onnx import helper, numpy_helper

Draw = Callable[[Case, np.random.Generator], np.ndarray]
"""Draws the weight of a case, float32 of its shape."""


class NetworkGraph:
    """Nodes and weights in the order of the layers, each reading what the last one wrote.

    Attributes
    ----------
    input_shape
        Of the image ``x``: (1, 3, side, side); the last node writes (1, 1000).
    output
        Name of what the last node wrote; set it to branch.
    cases
        The layers by the names of their weights.
    """

    def __init__(self, name: str, side: int, draw: Draw, seed: int) -> None:
        self.input_shape = [1, 3, side, side]
        self.output = "x"
        self.cases: dict[str, Case] = {}
        self._name = name
        self._draw = draw
        self._generator = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *weights: str, **attributes: object) -> None:
        """Append a node."""
        output = f"{operator.lower()}{len(self._nodes)}"
        inputs = [self.output, *weights]
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        self.output = output

    def concatenate(self, branches: Sequence[str]) -> None:
        """Append a node that joins channels."""
        output = f"concat{len(self._nodes)}"
        self._nodes.append(helper.make_node("Concat", branches, [output], axis=1))
        self.output = output

    def convolution(self, case: Case, **attributes: object) -> None:
        """Append a convolution with bias and a ReLU."""
        self.add("Conv", *self._weight(case), **attributes)
        self.add("Relu")

    def classifier(self, cases: Sequence[Case]) -> None:
        """Append fully connected layers, a ReLU between each two."""
        self.add("Flatten")
        for case in cases:
            self.add("Gemm", *self._weight(case))
            if case is not cases[-1]:
                self.add("Relu")

    def model(self) -> onnx.ModelProto:
        """Return the model."""
        image = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, self.input_shape)
        classes = helper.make_tensor_value_info(self.output, onnx.TensorProto.FLOAT, [1, 1000])
        made = helper.make_graph(self._nodes, self._name, [image], [classes], self._weights)
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    def _weight(self, case: Case) -> tuple[str, str]:
        """Append a random weight that keeps the scale of what passes, and a bias."""
        values = self._draw(case, self._generator)
        convolution = len(case.weight_shape) == 4
        axes = tuple(range(1, values.ndim)) if convolution else 0
        power = np.square(values).sum(axis=axes, dtype=np.float64).mean()
        values *= np.float32(np.sqrt(2 / power))  # half of it passes the ReLU before
        outputs = case.weight_shape[0 if convolution else 1]
        names = f"{case.name}.weight", f"{case.name}.bias"
        bias = np.full(outputs, 0.01, np.float32)
        self._weights += [
            numpy_helper.from_array(array, name)
            for array, name in zip((values, bias), names, strict=True)
        ]
        self.cases[names[0]] = case
        return names
