"""Whole small networks as exporters write them: a transformer with shape arithmetic, residual and mobile blocks."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import compare, make_model

from dcc.importer import import_model

RANDOM = np.random.default_rng(3)
WIDTH, HEADS, LENGTH, WORDS = 32, 4, 7, 50


def floats(*shape, scale=0.3):
    return (RANDOM.standard_normal(shape) * scale).astype(np.float32)


class Network:
    """Collects nodes; every call returns the name of a node's first output."""

    def __init__(self, opset):
        self.nodes, self.initializers, self.opset = [], {}, opset

    def __call__(self, operator, *inputs, outputs=1, **attributes):
        names = [f"{operator.lower()}_{len(self.nodes)}.{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def store(self, name, value):
        self.initializers[name] = np.asarray(value)
        return name

    def constant(self, value):
        return self("Constant", value=numpy_helper.from_array(np.asarray(value)))

    def model(self, inputs, result):
        return make_model(self.nodes, inputs, {result: None}, self.initializers, self.opset)

    def layer_norm(self, x, name):
        gamma, beta = self.store(f"{name}.g", floats(WIDTH)), self.store(f"{name}.b", floats(WIDTH))
        if self.opset >= 17:
            return self("LayerNormalization", x, gamma, beta, epsilon=1e-5)
        mean = self("ReduceMean", x, axes=[-1])
        centred = self("Sub", x, mean)
        square = self("Pow", centred, self.constant(np.float32(2)))
        variance = self(
            "Add", self("ReduceMean", square, axes=[-1]), self.constant(np.float32(1e-5))
        )
        normal = self("Div", centred, self("Sqrt", variance))
        return self("Add", self("Mul", normal, gamma), beta)

    def unsqueeze(self, x, axis):
        if self.opset >= 13:
            return self("Unsqueeze", x, self.constant(np.array([axis])))
        return self("Unsqueeze", x, axes=[axis])

    def linear(self, x, name, rows, columns):
        weight = self.store(f"{name}.weight", floats(rows, columns))
        bias = self.store(f"{name}.bias", floats(columns))
        return self("Add", bias, self("MatMul", x, weight))

    def size(self, x, axis):
        return self.unsqueeze(self("Gather", self("Shape", x), self.constant(np.array(axis))), 0)

    def heads(self, x, order):
        parts = [self.size(x, 0), self.size(x, 1), self.constant(np.array([HEADS]))]
        shape = self("Concat", *parts, self.constant(np.array([WIDTH // HEADS])), axis=0)
        return self("Transpose", self("Reshape", x, shape), perm=order)


def transformer(opset):
    net = Network(opset)
    words = net.store("embedding.word", floats(WORDS, WIDTH))
    places = net.store("embedding.place", floats(64, WIDTH))
    positions = net(
        "Range",
        net.constant(np.array(0)),
        net("Squeeze", net.size("ids", 1)),
        net.constant(np.array(1)),
    )
    x = net("Add", net("Gather", words, "ids"), net("Gather", places, positions))
    x = net.layer_norm(x, "first")
    mask = net("Cast", net.unsqueeze(net.unsqueeze("mask", 1), 2), to=TensorProto.FLOAT)
    mask = net("Mul", net("Sub", net.constant(np.float32(1)), mask), net.constant(np.float32(-1e4)))
    for block in range(2):
        query, key, value = (
            net.linear(x, f"block{block}.{part}", WIDTH, WIDTH)
            for part in ("query", "key", "value")
        )
        scores = net("MatMul", net.heads(query, [0, 2, 1, 3]), net.heads(key, [0, 2, 3, 1]))
        scaled = net("Div", scores, net.constant(np.float32((WIDTH // HEADS) ** 0.5)))
        weights = net("Softmax", net("Add", scaled, mask), axis=3)
        mixed = net(
            "Transpose", net("MatMul", weights, net.heads(value, [0, 2, 1, 3])), perm=[0, 2, 1, 3]
        )
        shape = net(
            "Concat",
            net.size(mixed, 0),
            net.size(mixed, 1),
            net.constant(np.array([WIDTH])),
            axis=0,
        )
        x = net(
            "Add", x, net.linear(net("Reshape", mixed, shape), f"block{block}.out", WIDTH, WIDTH)
        )
        x = net.layer_norm(x, f"block{block}.n1")
        wide = net.linear(x, f"block{block}.up", WIDTH, 2 * WIDTH)
        half = net("Mul", wide, net.constant(np.float32(0.5)))
        erf = net("Erf", net("Div", wide, net.constant(np.float32(2**0.5))))
        gelu = net("Mul", half, net("Add", erf, net.constant(np.float32(1))))
        x = net("Add", x, net.linear(gelu, f"block{block}.down", 2 * WIDTH, WIDTH))
        x = net.layer_norm(x, f"block{block}.n2")
    first = net("Gather", x, net.constant(np.array(0)), axis=1)
    result = net("Tanh", net.linear(first, "pool", WIDTH, WIDTH))
    inputs = {"ids": (["batch", "length"], np.int64), "mask": (["batch", "length"], np.int64)}
    return net.model(inputs, result)


@pytest.mark.parametrize("opset", [11, 14, 17])
def test_transformer(opset):
    model = transformer(opset)
    shapes = {"ids": (2, LENGTH), "mask": (2, LENGTH)}
    feeds = {
        "ids": RANDOM.integers(0, WORDS, (2, LENGTH)),
        "mask": (np.arange(LENGTH) < [[5], [7]]).astype(np.int64),
    }
    imported = import_model(model, shapes)
    names = set(imported.onnx_names.values())
    assert {"embedding.word", "embedding.place", "block0.query.weight", "pool.weight"} <= names
    assert compare(model, feeds, shapes) <= 1e-5


def residual_network():
    net = Network(12)

    def conv(x, name, inputs, outputs, kernel, **attributes):
        weight = net.store(f"{name}.weight", floats(outputs, inputs, kernel, kernel))
        x = net("Conv", x, weight, **attributes)
        stats = [net.store(f"{name}.bn{k}", abs(floats(outputs)) + 0.2) for k in range(4)]
        return net("BatchNormalization", x, *stats)

    x = net("Relu", conv("x", "stem", 3, 8, 7, strides=[2, 2], pads=[3] * 4))
    x = net("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = net("Relu", conv(x, "a1", 8, 16, 3, strides=[2, 2], pads=[1] * 4))
    y = conv(y, "a2", 16, 16, 3, pads=[1] * 4)
    x = net("Relu", net("Add", y, conv(x, "skip", 8, 16, 1, strides=[2, 2])))
    x = net("GlobalAveragePool", x)
    x = net("Flatten", x)
    weight, bias = net.store("fc.weight", floats(10, 16)), net.store("fc.bias", floats(10))
    return net.model({"x": ["N", 3, 33, 31]}, net("Gemm", x, weight, bias, transB=1))


def mobile_network():
    net = Network(11)
    zero, six = net.constant(np.float32(0)), net.constant(np.float32(6))
    x = "x"
    for index, (inputs, outputs, stride) in enumerate([(4, 8, 2), (8, 8, 1)]):
        grown = net("Conv", x, net.store(f"{index}.up", floats(16, inputs, 1, 1)))
        grown = net("Clip", grown, zero, six)
        depth = net.store(f"{index}.depth", floats(16, 1, 3, 3))
        grown = net("Conv", grown, depth, group=16, strides=[stride] * 2, auto_pad="SAME_UPPER")
        grown = net("Mul", grown, net("HardSigmoid", grown, alpha=1 / 6, beta=0.5))
        squeezed = net("ReduceMean", grown, axes=[2, 3])
        gate = net("Conv", squeezed, net.store(f"{index}.gate", floats(16, 16, 1, 1)))
        grown = net("Mul", grown, net("Sigmoid", gate))
        new = net("Conv", grown, net.store(f"{index}.down", floats(outputs, 16, 1, 1)))
        x = net("Add", x, new) if inputs == outputs and stride == 1 else new
    return net.model({"x": [1, 4, 15, 14]}, x)


def temporal_network():
    net = Network(16)
    x = "x"
    for index, dilation in enumerate((1, 2, 4)):
        pads = net.constant(np.array([0, 0, 2 * dilation, 0, 0, 0]))
        padded = net("Pad", x, pads)
        weight = net.store(f"{index}.weight", floats(8, 8, 3))
        bias = net.store(f"{index}.bias", floats(8))
        y = net("LeakyRelu", net("Conv", padded, weight, bias, dilations=[dilation]), alpha=0.1)
        x = net("Add", x, y)
    up = net("ConvTranspose", x, net.store("up", floats(8, 4, 4)), strides=[2], pads=[1, 1])
    return net.model({"x": [2, 8, 12]}, up)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (residual_network, (1, 3, 33, 31)),
        (mobile_network, (1, 4, 15, 14)),
        (temporal_network, (2, 8, 12)),
    ],
)
def test_convolutional_network(build, shape):
    assert compare(build(), {"x": floats(*shape, scale=1.0)}) <= 1e-5
