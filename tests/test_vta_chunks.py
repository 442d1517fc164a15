"""Weights that one stream cannot read at once: chunks of outputs, parts of a reduction."""

from dataclasses import replace

import numpy as np
import pytest
from onnx_models import make_model

import dcc
from dcc.accelerator.executor import Executor
from dcc.accelerator.reference import ReferenceExecutor
from dcc.codegen.vta.bias_blocks import LARGEST
from dcc.codegen.vta.coded_weights import Levels
from dcc.schedules.vta.layers import ConvLayer, Requantise, Residual
from dcc.schedules.vta.operations import ConvWeights, bias_in_blocks, conv_operation
from dcc.targets.vta.device import VTA
from dcc.targets.vta.simulator import SimulatedDriver


def random_weights(layer, seed, kept=1.0, levels=15):
    random = np.random.default_rng(seed)
    shape = (layer.outputs, layer.channels, *layer.kernel)
    table = np.linspace(-127, 127, levels).astype(np.int8)
    codes = random.integers(0, levels, shape).astype(np.uint8)
    # Whole blocks of zeros, the middle level.
    drop = random.random((layer.output_blocks, layer.input_blocks, *layer.kernel)) >= kept
    drop = np.repeat(np.repeat(drop, 16, 0), 16, 1)[: layer.outputs, : layer.channels]
    codes[drop] = levels // 2
    bias = random.integers(-LARGEST // 2, LARGEST // 2, layer.outputs).astype(np.int32)
    return ConvWeights(Levels(codes, table[None]), bias if layer.bias else None)


def run(operation, device, seed=0, **options):
    """Run on the simulator and in numpy; the two results and what the run took."""
    random = np.random.default_rng(seed)
    layer = operation.layer
    inputs = [random.integers(-128, 128, shape).astype(np.int8) for shape in operation.input_shapes]
    # Channels that only fill the last block are zero.
    for array, channels in zip(inputs, (layer["channels"], layer["outputs"]), strict=False):
        array[:, -1, ..., (channels - 1) % 16 + 1 :] = 0
    results = []
    executor = Executor([operation], SimulatedDriver(device, **options), device)
    for each in (executor, ReferenceExecutor([operation])):
        results.append(np.zeros(operation.output_shape, np.int8))
        each.run(0, inputs, results[-1])
    executor.close()
    return results, executor.runs[0]


LAYERS = {
    "product": ConvLayer(1, 300, 1, 1, 40, bias=True, requantise=Requantise(12)),
    "convolution": ConvLayer(
        1, 70, 9, 8, 20, (3, 3), (1, 1), (1, 1, 1, 1), bias=True, requantise=Requantise(12, 0)
    ),
    "strides, batch": ConvLayer(
        2, 33, 8, 11, 35, (3, 2), (2, 1), (1, 0, 2, 1), requantise=Requantise(12)
    ),
    "residual": ConvLayer(
        1, 64, 7, 7, 32, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), True, Requantise(8), Residual(4, 2)
    ),
    "a wide kernel": ConvLayer(1, 10, 9, 9, 30, (9, 9), requantise=Requantise(13)),
}


@pytest.mark.parametrize("form", ["codebook", "huffman"])
@pytest.mark.parametrize("name", LAYERS)
def test_parts_of_a_reduction(name, form):
    layer = LAYERS[name]
    weights = random_weights(layer, 1, kept=0.8)
    layer = replace(layer, bias_blocks=bias_in_blocks(layer, weights.bias))
    device = replace(VTA, expand_bytes=2 * 256 * 8)
    operation = conv_operation(name, layer, weights, form, device)
    assert len(operation.streams) >= 2 * layer.output_blocks
    assert np.diff(operation.starts).max() <= 8
    (result, expected), taken = run(operation, device)
    np.testing.assert_array_equal(result, expected)
    assert len(np.unique(expected)) > 20
    assert taken.coded_bytes == operation.coded.coded_bytes
    assert taken.bytes_expanded == operation.bytes["kept_blocks"]


def test_parts_in_any_order_of_the_queues():
    layer = LAYERS["convolution"]
    device = replace(VTA, expand_bytes=2 * 256 * 8)
    operation = conv_operation("x", layer, random_weights(layer, 2), "codebook", device)
    for seed in range(3):
        (result, expected), _ = run(operation, device, interleave=seed)
        np.testing.assert_array_equal(result, expected)


def test_sums_of_all_32_bits():
    """The digits hold every sum that accumulators do."""
    layer = ConvLayer(1, 16 * 256, 1, 2, 16, bias=True, requantise=Requantise(20))
    codes = np.zeros((16, layer.channels, 1, 1), np.uint8)
    codes[8:] = 1
    bias = np.full(16, (1 << 30) - 1, np.int32)
    weights = ConvWeights(Levels(codes, np.array([[-128, 127]], np.int8)), bias)
    device = replace(VTA, expand_bytes=2 * 256 * 100)
    operation = conv_operation("x", layer, weights, "codebook", device)
    assert len(operation.streams) == 3
    executor = Executor([operation], SimulatedDriver(device), device)
    inputs = np.full(operation.input_shapes[0], -128, np.int8)
    result, expected = (np.zeros(operation.output_shape, np.int8) for _ in range(2))
    executor.run(0, [inputs], result)
    ReferenceExecutor([operation]).run(0, [inputs], expected)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("form", ["dense", "blocks"])
def test_weights_beyond_one_allocation(form):
    device = replace(VTA, limits=replace(VTA.limits, allocation=30 * 1024))
    layer = ConvLayer(1, 256, 1, 1, 200, bias=True, requantise=Requantise(12))
    operation = conv_operation("x", layer, random_weights(layer, 3, kept=0.7), form, device)
    assert len(operation.streams) > 1
    (result, expected), taken = run(operation, device)
    np.testing.assert_array_equal(result, expected)
    assert taken.coded_bytes == 0


def fully_connected(outputs, inputs):
    random = np.random.default_rng(0)
    levels = np.linspace(-0.02, 0.02, 16).astype(np.float32)
    weight = levels[random.integers(0, 16, (inputs, outputs), dtype=np.uint8)]
    from onnx import helper

    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return make_model(nodes, {"x": [1, inputs]}, {"y": [1, outputs]}, {"w": weight})


@pytest.mark.parametrize(
    ("outputs", "inputs", "form"),
    [
        (40, 9216, "codebook"),
        pytest.param(4096, 9216, "codebook", marks=pytest.mark.slow),
        pytest.param(4096, 9216, "huffman", marks=pytest.mark.slow),
        pytest.param(4096, 9216, "dense", marks=pytest.mark.slow),
    ],
)
def test_the_first_fully_connected_layer_of_alexnet(outputs, inputs, form, tmp_path):
    x = np.random.default_rng(1).standard_normal((1, inputs)).astype(np.float32)
    path = tmp_path / "fc.so"
    dcc.compile(
        fully_connected(outputs, inputs), path, target="vta-sim", storage=form, calibrate={"x": x}
    )
    module = dcc.load(path)
    (operation,) = module.accelerator.operations
    assert operation.form == form
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    np.testing.assert_array_equal(module(x)[0], reference(x)[0])
    taken = module.accelerator.runs[0]
    if form != "dense":
        assert np.diff(operation.starts).max() * 256 <= VTA.expand_bytes // 2
        assert taken.coded_bytes == operation.coded.coded_bytes <= 0.55 * outputs * inputs
        assert taken.bytes_expanded == -(-outputs // 16) * 16 * inputs
