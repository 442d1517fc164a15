"""What weights are multiplied with: found in the graph, and summed up, against plain loops."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from onnx_models import make_model, run_reference

from dcc.importer.graph import read_graph
from dcc.training.activation_statistics import gather_statistics, importances
from dcc.training.input_moments import input_moments
from dcc.training.weight_readings import weight_readings


def only_reading(model: onnx.ModelProto):
    (reading,) = weight_readings(read_graph(model.graph))
    return reading


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.one_of(
        st.tuples(*[st.integers(0, 2)] * 4), st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"])
    ),
    groups=st.sampled_from([1, 2]),
    seed=st.integers(0, 9),
)
def test_moments_of_a_convolution(height, width, kernel, strides, dilations, pads, groups, seed):
    """By the convolution itself: a kernel of one 1 adds up what its weight is multiplied with."""
    if not isinstance(pads, tuple) and max(dilations) > 1:
        dilations = (1, 1)
    padding = {"pads": list(pads)} if isinstance(pads, tuple) else {"auto_pad": pads}
    attributes = {"strides": list(strides), "dilations": list(dilations), **padding}
    x = np.random.default_rng(seed).normal(size=(2, 4, height, width)).astype(np.float32)
    inputs = 4 // groups
    count = 4 * kernel[0] * kernel[1]
    basis = np.eye(count, dtype=np.float32).reshape(count, 4, *kernel)

    def model(weight, group):
        node = helper.make_node("Conv", ["x", "w"], ["y"], group=group, **attributes)
        return make_model([node], {"x": list(x.shape)}, {"y": None}, {"w": weight})

    (sums,) = run_reference(model(basis, 1), {"x": x})
    (squares,) = run_reference(model(basis, 1), {"x": x * x})
    weight = np.ones((6, inputs, *kernel), np.float32)
    moments = input_moments(only_reading(model(weight, groups)), x)
    assert moments.count == sums.size // count

    def expected(found):
        each = found.sum(axis=(0, 2, 3)).reshape(groups, 1, inputs, *kernel)
        return np.broadcast_to(each, (groups, 6 // groups, inputs, *kernel)).reshape(weight.shape)

    for got, found in ((moments.total, sums), (moments.squares, squares)):
        np.testing.assert_allclose(
            np.broadcast_to(got, weight.shape), expected(found), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("operator", "attributes", "shape", "weight_first"),
    [
        ("Gemm", {}, (5, 3), False),
        ("Gemm", {"transB": 1}, (3, 5), False),
        ("MatMul", {}, (5, 3), False),
        ("MatMul", {}, (3, 7), True),
    ],
)
def test_importance_is_the_cost_of_an_error(operator, attributes, shape, weight_first):
    """An error of one weight moves the outputs by as much as its importance says."""
    random = np.random.default_rng(1)
    x = random.normal(size=(7, 5)).astype(np.float32) + 1
    names = ["w", "x"] if weight_first else ["x", "w"]
    node = helper.make_node(operator, names, ["y"], **attributes)
    weight = random.normal(size=shape).astype(np.float32)

    def output(array):
        model = make_model([node], {"x": list(x.shape)}, {"y": None}, {"w": array})
        return run_reference(model, {"x": x})[0].astype(np.float64)

    model = make_model([node], {"x": list(x.shape)}, {"y": None}, {"w": weight})
    moments = input_moments(only_reading(model), x)
    for position in ((0, 0), (2, 1)):
        moved = weight.copy()
        moved[position] += 1
        cost = np.square(output(moved) - output(weight)).sum() / moments.count
        found = np.broadcast_to(moments.mean_square, shape)[position]
        assert cost == pytest.approx(found, rel=1e-4)


def test_positions_follow_a_moved_weight():
    """A weight that is reshaped and transposed on its way: importance in its own order."""
    weight = np.arange(1, 16, dtype=np.float32)
    nodes = [
        helper.make_node("Reshape", ["w", "shape"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"]),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("MatMul", ["a", "t"], ["y"]),
    ]
    constants = {"w": weight, "shape": np.array([3, -1])}
    model = make_model(nodes, {"x": [1, 5]}, {"y": [1, 3]}, constants)
    x = np.array([[1, 2, -3, 4, 5]], np.float32)
    found = importances(gather_statistics(model, [{"x": x}]))["w"]
    rows = np.array([1, 4, 0, 16, 25])
    np.testing.assert_allclose(found, np.tile(rows, 3) + 0.01 * rows.mean(), rtol=1e-6)


def test_rows_of_a_table_count_as_often_as_they_are_read():
    node = helper.make_node("Gather", ["table", "i"], ["y"])
    table = np.ones((4, 3), np.float32)
    model = make_model([node], {"i": ([5], np.int64)}, {"y": [5, 3]}, {"table": table})
    moments = input_moments(only_reading(model), np.array([0, 2, 2, -1, 2]))
    np.testing.assert_allclose(moments.mean_square.ravel(), [0.2, 0, 0.6, 0.2])


def test_recurrent_weights_see_inputs_and_states():
    random = np.random.default_rng(0)
    arrays = {"w": random.normal(size=(1, 12, 2)), "r": random.normal(size=(1, 12, 3))}
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3)
    model = make_model(
        [node],
        {"x": [4, 1, 2]},
        {"y": [4, 1, 1, 3]},
        {key: value.astype(np.float32) for key, value in arrays.items()},
    )
    x = random.normal(size=(4, 1, 2)).astype(np.float32)
    found = {r.weight: m for r, m in gather_statistics(model, [{"x": x}])}
    (y,) = run_reference(model, {"x": x})
    np.testing.assert_allclose(found["w"].mean.ravel(), x.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(
        found["r"].mean_square.ravel(), np.square(y).mean(axis=(0, 2))[0], rtol=1e-4
    )


def test_products_of_activations_have_no_reading():
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    model = make_model(nodes, {"x": [2, 2]}, {"y": [2, 2]})
    assert weight_readings(read_graph(model.graph)) == []
