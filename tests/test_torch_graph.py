"""ONNX models as torch modules: what they compute, their parameters, what they refuse."""

from importlib.resources import files

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import largest_error, make_model, run_reference, single_node

torch = pytest.importorskip("torch")

from dcc.errors import ModelError  # noqa: E402
from dcc.training.torch_graph import TorchGraph, with_weights  # noqa: E402

NORMAL = np.random.default_rng(0)
DIGITS = str(files("dcc.data") / "digits.onnx")


def draw(*shape):
    return NORMAL.standard_normal(shape).astype(np.float32)


def error_of(model, feeds):
    graph = TorchGraph(model).eval()
    (array,) = feeds.values()
    with torch.no_grad():
        got = graph(torch.from_numpy(array)).numpy()
    return largest_error([got], run_reference(model, feeds)[:1])


LAYERS = [
    ("Conv", [draw(2, 4, 9, 7), draw(6, 2, 3, 2), draw(6)], {"group": 2, "pads": [1, 0, 2, 1]}),
    ("Conv", [draw(2, 3, 9, 8), draw(4, 3, 3, 2)], {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    ("Conv", [draw(1, 3, 9, 8), draw(4, 3, 2, 4)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", [draw(1, 3, 9), draw(4, 3, 3)], {"dilations": [2], "auto_pad": "VALID"}),
    ("MaxPool", [-(draw(2, 3, 7, 9) ** 2)], {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", [draw(2, 3, 7, 9)], {"kernel_shape": [3, 2], "pads": [1, 0, 0, 1]}),
    ("GlobalAveragePool", [draw(2, 3, 7, 9)], {}),
    ("Gemm", [draw(3, 5), draw(7, 5), draw(7)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("MatMul", [draw(2, 3, 5), draw(5, 7)], {}),
    (
        "BatchNormalization",
        [draw(2, 3, 4, 5), draw(3), draw(3), draw(3), draw(3) ** 2],
        {"epsilon": 0.01},
    ),
    ("LSTM", [draw(4, 2, 3), draw(1, 20, 3), draw(1, 20, 5), draw(1, 40)], {"hidden_size": 5}),
    (
        "LSTM",
        [draw(4, 2, 3), draw(2, 20, 3), draw(2, 20, 5)],
        {"hidden_size": 5, "direction": "bidirectional"},
    ),
    (
        "GRU",
        [draw(4, 2, 3), draw(1, 15, 3), draw(1, 15, 5), draw(1, 30)],
        {"hidden_size": 5, "direction": "reverse", "linear_before_reset": 1},
    ),
    ("GRU", [draw(4, 2, 3), draw(1, 15, 3), draw(1, 15, 5)], {"hidden_size": 5}),
    ("Clip", [draw(3, 4), np.float32(-0.5), np.float32(0.25)], {}),
    ("Pad", [draw(2, 3, 4), np.array([0, 1, 0, 0, 2, 1])], {}),
    ("Pad", [draw(2, 3, 4), np.array([0, 1, 2, 0, 2, 0])], {"mode": "reflect"}),
    ("Slice", [draw(4, 5, 6), *map(np.array, ([-1, 1], [-9, 4], [0, 2], [-2, 2]))], {}),
    ("Reshape", [draw(2, 3, 4), np.array([0, -1])], {}),
    ("Unsqueeze", [draw(2, 3), np.array([0, -1])], {}),
    ("Gather", [draw(4, 5), np.array([[1, -1], [0, 2]])], {"axis": 1}),
    ("ReduceMean", [draw(2, 3, 4)], {"axes": [1, 2], "keepdims": 0}),
    ("PRelu", [draw(2, 3, 4), draw(3, 1)], {}),
    ("LayerNormalization", [draw(2, 3, 4), draw(3, 4), draw(3, 4)], {"axis": 1}),
    ("HardSigmoid", [3 * draw(2, 9)], {}),
    ("LogSoftmax", [draw(2, 9)], {}),
]


@pytest.mark.parametrize(("operator", "arrays", "attributes"), LAYERS)
def test_operators_against_onnxruntime(operator, arrays, attributes):
    model, feeds = single_node(operator, arrays, attributes, constants=range(1, len(arrays)))
    assert error_of(model, feeds) < 2e-6


def test_softmax_before_opset_13_normalises_over_several_axes():
    model, feeds = single_node("Softmax", [draw(2, 3, 4)], {"axis": 1}, opset=11)
    assert error_of(model, feeds) < 1e-6


def test_a_shipped_network_and_its_parameters():
    model = onnx.load(DIGITS)
    graph = TorchGraph(model)
    assert error_of(model, {"image": draw(3, 1, 8, 8)}) < 1e-5
    assert graph.operator_types["conv2.weight"] == "Conv"
    assert graph.operator_types["hidden.bias"] == "bias"
    assert set(graph.weight_names.values()) == {
        tensor.name for tensor in model.graph.initializer if "running" not in tensor.name
    }


def test_training_moves_statistics_and_arrays_hand_them_back():
    model = onnx.load(DIGITS)
    graph = TorchGraph(model).train()
    before = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    loss = graph(torch.from_numpy(draw(8, 1, 8, 8))).square().sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in graph.parameters())
    arrays = graph.arrays()
    assert not np.array_equal(arrays["norm1.running_mean"], before["norm1.running_mean"])
    np.testing.assert_array_equal(arrays["hidden.weight"], before["hidden.weight"])
    changed = with_weights(model, {"hidden.weight": 2 * before["hidden.weight"]})
    np.testing.assert_array_equal(
        TorchGraph(changed).arrays()["hidden.weight"], 2 * before["hidden.weight"]
    )


def test_a_batch_that_the_model_was_not_exported_for():
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = make_model(nodes, {"x": [1, 2, 3]}, {"y": [1, 6]}, {"shape": np.array([1, 6])})
    assert TorchGraph(model)(torch.zeros(5, 2, 3)).shape == (5, 6)


@pytest.mark.parametrize(
    ("nodes", "inputs", "message"),
    [
        (
            [helper.make_node("Det", ["x"], ["y"], "d")],
            {"x": [1, 2, 2]},
            r"'d' \(Det\).*Det has no",
        ),
        (
            [helper.make_node("Relu", ["x"], ["y"], domain="mine")],
            {"x": [1, 2]},
            "operator mine.Relu",
        ),
        ([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", "T"]}, "open shape"),
        ([helper.make_node("Add", ["x", "z"], ["y"])], {"x": [1], "z": [1]}, "one input"),
    ],
)
def test_what_cannot_be_trained_is_named(nodes, inputs, message):
    with pytest.raises(ModelError, match=message):
        TorchGraph(make_model(nodes, inputs, {"y": [1]}))
