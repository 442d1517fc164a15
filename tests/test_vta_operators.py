"""Operators x storage forms on VTA: bit for bit with the reference, near ONNX's own meaning."""

import numpy as np
import pytest
from onnx import helper
from onnx_models import make_model, single_node

import dcc
from dcc.accelerator.reference import ReferenceExecutor
from dcc.deployment import deploy
from dcc.errors import TargetError
from dcc.running import load_for

RANDOM = np.random.default_rng(0)
GRID = np.linspace(-0.7, 0.7, 15).astype(np.float32)  # zero among them: 15 levels


def data(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def weight(*shape):
    return GRID[RANDOM.integers(0, len(GRID), shape)]


OPERATORS = {
    "matmul": ("MatMul", [data(1, 70), weight(70, 33)], {}),
    "matmul of rows": ("MatMul", [data(2, 5, 20), weight(20, 40)], {}),
    "gemm": ("Gemm", [data(3, 40), weight(18, 40), weight(18)], {"transB": 1}),
    "conv1d": ("Conv", [data(1, 9, 20), weight(17, 9, 5)], {"strides": [2], "pads": [1, 2]}),
    "conv2d": (
        "Conv",
        [data(2, 20, 9, 11), weight(35, 20, 3, 2), weight(35)],
        {"strides": [2, 1], "pads": [1, 0, 2, 1]},
    ),
    "dilated": ("Conv", [data(1, 3, 12, 12), weight(5, 3, 3, 3)], {"dilations": [2, 3]}),
    "pointwise": ("Conv", [data(1, 64, 7, 7), weight(48, 64, 1, 1)], {"strides": [3, 3]}),
}
QUICK = {
    ("matmul", "huffman"),
    ("matmul of rows", "dense"),
    ("gemm", "codebook"),
    ("conv1d", "blocks"),
    ("conv2d", "huffman"),
}


PAIRS = [
    pytest.param(name, form, marks=[] if (name, form) in QUICK else [pytest.mark.slow])
    for name in OPERATORS
    for form in ("dense", "blocks", "codebook", "huffman")
]


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_operator(name, form):
    operator, arrays, attributes = OPERATORS[name]
    constants = range(1, len(arrays))
    model, feeds = single_node(operator, arrays, attributes, constants=constants)
    calibration = {key: value.copy() for key, value in feeds.items()}
    compiled = dcc.compile(model, target="vta-sim", storage=form, calibrate=calibration)
    module = compiled.load()
    (operation,) = module.accelerator.operations
    assert operation.form == form
    (result,) = module(feeds)
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    np.testing.assert_array_equal(result, reference(feeds)[0])
    (expected,) = dcc.load(dcc.compile(model))(feeds)
    noise = np.square(result - expected).sum()
    assert 10 * np.log10(np.square(expected).sum() / noise) > 25


def test_a_constant_scale_keeps_the_codebook():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "s"], ["y"]),
    ]
    scale = np.linspace(0.3, 1.7, 24).astype(np.float32).reshape(1, 24, 1, 1)
    model = make_model(
        nodes, {"x": [1, 16, 6, 6]}, {"y": [1, 24, 4, 4]}, {"w": weight(24, 16, 3, 3), "s": scale}
    )
    module = dcc.compile(model, target="vta-sim", storage="codebook").load()
    (operation,) = module.accelerator.operations
    # A table of levels for each output channel; 4 bits a weight.
    assert operation.coded.tables.shape == (24, 15)
    x = data(1, 16, 6, 6)
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    np.testing.assert_array_equal(module(x)[0], reference(x)[0])


def test_a_bias_that_leaves_no_room_among_the_weights():
    """A kernel of 32 x 32 fills the scratchpad of weights: the bias stands elsewhere."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
    ]
    constants = {"w": data(10, 16 * 32 * 32) / 128, "b": data(10)}
    model = make_model(nodes, {"x": [1, 16, 32, 32]}, {"y": [1, 10]}, constants)
    x = data(1, 16, 32, 32)
    module = dcc.compile(model, target="vta-sim", calibrate={"x": x}).load()
    assert [each.layer["kind"] for each in module.accelerator.operations] == ["conv"]
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    np.testing.assert_array_equal(module(x)[0], reference(x)[0])


def test_a_tensor_beyond_one_allocation_stays_on_the_host(tmp_path):
    arrays = [data(1, 1, 1500, 1500), weight(4, 1, 1, 1)]
    model, feeds = single_node("Conv", arrays, {}, constants=[1])
    path = tmp_path / "model.so"
    dcc.compile(model, path, target="vta-sim", calibrate=feeds)
    (layer,) = dcc.inspect(path).layers
    assert "36,000,000 bytes exceeds one allocation of the accelerator" in layer.reason


@pytest.mark.parametrize(("kept", "expected"), [(0.1, "blocks"), (1.0, "huffman")])
def test_the_smallest_form_is_found_by_its_bytes(kept, expected):
    dense = weight(160, 160, 1, 1)
    blocks = RANDOM.random((10, 10)) < kept
    mask = np.repeat(np.repeat(blocks, 16, 0), 16, 1)[:, :, None, None]
    model, _ = single_node("Conv", [data(1, 160, 8, 8), dense * mask], {}, constants=[1])
    compiled = dcc.compile(model, target="vta-sim", objective="size")
    (operation,) = compiled.load().accelerator.operations
    assert operation.form == expected


def test_places_for_processors_refuse_a_module_with_an_accelerator(tmp_path):
    model, _ = single_node("MatMul", [data(1, 32), weight(32, 16)], {}, constants=[1])
    path = tmp_path / "model.so"
    dcc.compile(model, path, target="vta-sim")
    with pytest.raises(TargetError, match="is for an accelerator: --emulate is for modules of"):
        load_for(path, emulate=True)
    with pytest.raises(TargetError, match="--rpc is for modules of processors"):
        load_for(path, rpc="localhost:1")
    with pytest.raises(TargetError, match="'dcc deploy' is for modules of processors"):
        deploy(path, tmp_path / "folder")
