"""What the importer keeps, names, fixes and refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from onnx_models import compare, make_model, run_dense
from tvm import relax

from dcc.errors import ModelError
from dcc.importer import import_model

RANDOM = np.random.default_rng(1)
node = helper.make_node


def floats(*shape, dtype="float32"):
    return RANDOM.standard_normal(shape).astype(dtype)


def operators(imported) -> list[str]:
    """Names of the Relax operators in the order of main's bindings."""
    found = []

    def visit(expression):
        if isinstance(expression, relax.Call) and isinstance(expression.op, tvm.ir.Op):
            found.append(expression.op.name)

    relax.analysis.post_order_visit(imported.module["main"], visit)
    return found


def simple(nodes, initializers, opset=17, inputs=None, outputs=None):
    return make_model(
        nodes, inputs or {"x": [1, 6]}, outputs or {"y": None}, initializers, opset=opset
    )


# --- parameters and names ---------------------------------------------------------------------


def test_weights_are_parameters_in_order_after_the_inputs():
    model = simple(
        [node("Gemm", ["x", "fc.weight", "fc/bias:0"], ["y"], transB=1)],
        {"fc.weight": floats(9, 6), "fc/bias:0": floats(9), "unused": floats(30)},
    )
    imported = import_model(model)
    assert imported.onnx_names == {"fc_weight": "fc.weight", "fc_bias_0": "fc/bias:0"}
    assert list(imported.weights) == ["fc_weight", "fc_bias_0"]
    assert [v.name for v in imported.module["main"].params] == ["x", "fc_weight", "fc_bias_0"]
    assert operators(imported) == ["relax.permute_dims", "relax.matmul", "relax.add"]
    assert [spec.name for spec in imported.outputs] == ["y"]
    assert imported.outputs[0].shape == (1, 9)


def test_names_that_collide_after_cleaning_stay_apart():
    weights = {"w.1": floats(6, 6), "w:1": floats(6, 6), "1": floats(6, 6), "lv": floats(6, 6)}
    names = ["x", *weights]
    nodes = []
    for index, weight in enumerate(weights):
        result = "class" if index == 3 else f"t{index}"
        source = "x" if index == 0 else f"t{index - 1}"
        nodes.append(node("MatMul", [source, weight], [result]))
    model = simple(nodes, weights, outputs={"class": None})
    imported = import_model(model)
    assert len(names) == len(set(imported.weights)) + 1
    assert all(name.isidentifier() for name in imported.weights)
    assert set(imported.onnx_names.values()) == set(weights)
    for name, value in imported.weights.items():
        assert np.array_equal(value, weights[imported.onnx_names[name]])


def test_weight_in_a_constant_node_behind_moving_operators():
    weight = floats(3, 2, 8)
    nodes = [
        node("Constant", [], ["w"], value=numpy_helper.from_array(weight)),
        node("Identity", ["w"], ["w1"]),
        node("Reshape", ["w1", "shape"], ["w2"]),
        node("Transpose", ["w2"], ["w3"]),
        node("MatMul", ["x", "w3"], ["y"]),
    ]
    model = simple(nodes, {"shape": np.array([8, 6])})
    imported = import_model(model)
    assert imported.onnx_names == {"w": "w"}
    assert np.array_equal(imported.weights["w"], weight)
    assert "relax.permute_dims" in operators(imported)
    assert compare(model, {"x": floats(1, 6)}) < 1e-6


def test_a_tensor_read_twice_is_one_parameter():
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Transpose", ["w"], ["wt"]),
        node("MatMul", ["h", "wt"], ["y"]),
    ]
    assert list(import_model(simple(nodes, {"w": floats(6, 12)})).weights) == ["w"]


def test_initialisers_listed_as_inputs_are_no_inputs():
    model = simple([node("MatMul", ["x", "w"], ["y"])], {"w": floats(6, 6)})
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [6, 6]))
    imported = import_model(model)
    assert [spec.name for spec in imported.inputs] == ["x"]
    assert list(imported.weights) == ["w"]


def test_half_precision_weight_behind_a_cast():
    nodes = [
        node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
        node("MatMul", ["x", "w32"], ["y"]),
    ]
    model = simple(nodes, {"w": floats(6, 9, dtype="float16")})
    imported = import_model(model)
    assert imported.weights["w"].dtype == np.float16
    assert compare(model, {"x": floats(1, 6)}) < 1e-6


def test_half_precision_model():
    model = make_model(
        [
            node("Gemm", ["x", "w", "b"], ["h"], transB=1),
            node("Relu", ["h"], ["r"]),
            node("Mul", ["r", "s"], ["y"]),
        ],
        {"x": ([2, 6], np.float16)},
        {"y": (None, np.float16)},
        {
            "w": floats(9, 6, dtype="float16"),
            "b": floats(9, dtype="float16"),
            "s": np.float16(0.5),
        },
    )
    assert compare(model, {"x": floats(2, 6, dtype="float16")}) < 4e-3


def test_gemm_factors_scale_the_result_and_not_the_weight():
    model = simple([node("Gemm", ["x", "w"], ["y"], alpha=2.0, transB=1)], {"w": floats(9, 6)})
    assert operators(import_model(model)) == [
        "relax.permute_dims",
        "relax.matmul",
        "relax.multiply",
    ]


def test_batch_norm_stays_apart_from_the_weight():
    constants = {"w": floats(8, 4, 3, 3), "g": floats(8), "b": floats(8), "m": floats(8)}
    model = make_model(
        [
            node("Conv", ["x", "w"], ["c"]),
            node("BatchNormalization", ["c", "g", "b", "m", "v"], ["y"]),
        ],
        {"x": [1, 4, 6, 6]},
        {"y": None},
        {**constants, "v": abs(floats(8)) + 0.1},
    )
    imported = import_model(model)
    assert list(imported.weights) == ["w"]
    assert operators(imported) == ["relax.nn.conv2d", "relax.multiply", "relax.add"]


def test_small_tensors_and_integers_are_constants():
    model = simple(
        [
            node("Add", ["x", "small"], ["a"]),
            node("Reshape", ["a", "shape"], ["b"]),
            node("Clip", ["b", "low", "high"], ["y"]),
        ],
        {
            "small": floats(6),
            "shape": np.array([2, 3]),
            "low": np.float32(0),
            "high": np.float32(1),
        },
    )
    assert import_model(model).weights == {}


def test_shape_arithmetic_is_folded():
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["batch"]),
        node("Unsqueeze", ["batch", "axes"], ["b1"]),
        node("Concat", ["b1", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1, 2])}
    imported = import_model(simple(nodes, constants))
    assert operators(imported) == ["relax.reshape"]
    assert imported.outputs[0].shape == (1, 3, 2)


def test_a_value_read_twice_is_computed_once():
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Sigmoid", ["h"], ["s"]),
        node("Mul", ["h", "s"], ["y"]),
    ]
    found = operators(import_model(simple(nodes, {"w": floats(6, 6)})))
    assert found.count("relax.matmul") == 1


def test_outputs_may_be_inputs_constants_and_repeated():
    model = make_model(
        [node("Relu", ["x"], ["y"])],
        {"x": [1, 6]},
        {"y": None, "x": [1, 6], "k": [3]},
        {"k": floats(3)},
    )
    imported = import_model(model)
    x = floats(1, 6)
    got = run_dense(imported, [x])
    assert np.array_equal(got[1], x)
    assert [spec.name for spec in imported.outputs] == ["y", "x", "k"]


def test_local_functions_are_inlined():
    function = helper.make_function(
        "mine",
        "Double",
        ["a"],
        ["b"],
        [node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    model = simple([node("Double", ["x"], ["y"], domain="mine")], {})
    model.functions.append(function)
    x = floats(1, 6)
    assert np.array_equal(run_dense(import_model(model), [x])[0], 2 * x)


# --- branches -----------------------------------------------------------------------------------


def conditional(condition_nodes, initializers, inputs):
    def branch(name, weight):
        nodes = [
            node("MatMul", ["x", "w"], [f"{name}_h"]),
            node("Add", [f"{name}_h", "b"], [f"{name}_a"]),
            node("Relu", [f"{name}_a"], [f"{name}_y"]),
        ]
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [1, 9])
        stored = [numpy_helper.from_array(weight, "b")]
        return helper.make_graph(nodes, name, [], [out], stored)

    choice = node(
        "If", ["c"], ["y"], then_branch=branch("t", floats(9)), else_branch=branch("e", floats(9))
    )
    return make_model(
        [*condition_nodes, choice],
        inputs,
        {"y": [1, 9]},
        {**initializers, "w": floats(6, 9)},
        opset=17,
    )


def test_condition_from_an_input_runs_both_ways():
    model = conditional(
        [node("Equal", ["rate", "limit"], ["c"])],
        {"limit": np.array(16000)},
        {"x": [1, 6], "rate": ([], np.int64)},
    )
    for rate in (16000, 8000):
        feeds = {"x": floats(1, 6), "rate": np.array(rate)}
        assert compare(model, feeds) < 1e-6
    # Two branches use the name b: two parameters.
    assert sorted(import_model(model).onnx_names.values()) == ["b", "b", "w"]


def test_known_condition_leaves_one_branch():
    model = conditional([], {"c": np.array(True)}, {"x": [1, 6]})
    imported = import_model(model)
    assert len(imported.weights) == 2
    assert compare(model, {"x": floats(1, 6)}) < 1e-6


# --- shapes -------------------------------------------------------------------------------------


def dynamic(*dimensions):
    return make_model([node("Relu", ["x"], ["y"])], {"x": list(dimensions)}, {"y": None})


def test_symbolic_batch_is_one_and_the_same_name_means_the_same_size():
    model = make_model(
        [node("Add", ["x", "s"], ["y"])],
        {"x": ["batch", 4], "s": [2, "batch", 4]},
        {"y": None},
    )
    assert [s.shape for s in import_model(model).inputs] == [(1, 4), (2, 1, 4)]
    imported = import_model(model, {"x": (3, 4)})
    assert [s.shape for s in imported.inputs] == [(3, 4), (2, 3, 4)]


def test_dynamic_dimension_names_the_flag():
    with pytest.raises(ModelError, match=r"input 'x'.*dimension 2 \('height'\).*--shape x=1,3,1,1"):
        import_model(dynamic("N", 3, "height", "width"))


def test_given_shape_fixes_dynamic_dimensions():
    imported = import_model(dynamic("N", 3, "height", "width"), {"x": (2, 3, 8, 9)})
    assert imported.inputs[0].shape == (2, 3, 8, 9)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"z": (1, 3)}, "'z', which is no input of the model; its inputs are: x"),
        ({"x": (1, 3)}, "has 2 dimensions; the input has 3"),
        ({"x": (1, 4, 4)}, "dimension 1 is fixed to 3"),
        ({"x": (1, 3, 0)}, "at least 1"),
    ],
)
def test_shapes_that_do_not_fit(shapes, reason):
    with pytest.raises(ModelError, match=reason):
        import_model(dynamic("N", 3, "length"), shapes)


# --- refusals -----------------------------------------------------------------------------------


def refuse(model, reason):
    with pytest.raises(ModelError, match=reason) as caught:
        import_model(model)
    assert "\n" not in str(caught.value)
    return caught.value


def test_quantised_models_are_refused():
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quant"),
        node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    model = simple(nodes, {"s": np.float32(0.1), "z": np.uint8(3)})
    refuse(model, r"'quant' \(QuantizeLinear\).*already quantised")


def test_unknown_operator_and_domain():
    refuse(simple([node("Frobnicate", ["x"], ["y"], name="f")], {}), "'f'.*'ai.onnx'")
    model = simple([node("Relu", ["x"], ["y"], name="f", domain="acme.ops")], {})
    refuse(model, r"'f' \(Relu\).*'acme.ops'")


def test_undefined_input():
    refuse(simple([node("Add", ["x", "ghost"], ["y"], name="a")], {}), "'a'.*reads 'ghost'")


def test_output_without_a_producer():
    refuse(simple([node("Relu", ["x"], ["h"])], {}), "output 'y'")


def test_shape_mismatch_names_the_node_and_keeps_the_cause():
    error = refuse(
        simple([node("MatMul", ["x", "w"], ["y"], name="fc")], {"w": floats(7, 7)}),
        r"'fc' \(MatMul\)",
    )
    assert error.__cause__ is not None


def test_truncated_initialiser():
    model = simple([node("MatMul", ["x", "w"], ["y"])], {"w": floats(6, 6)})
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:10]
    refuse(model, "initialiser 'w' cannot be read")


def test_shape_that_depends_on_data():
    refuse(simple([node("NonZero", ["x"], ["y"], name="nz")], {}), "'nz'")


@pytest.mark.parametrize(
    ("attributes", "inputs", "reason"),
    [
        ({"activations": ["Relu", "Tanh", "Tanh"]}, [], "'activations'"),
        ({"clip": 1.0}, [], "'clip'"),
        ({"direction": "sideways"}, [], "direction 'sideways'"),
        ({}, ["", "lengths"], "'sequence_lens'"),
        ({}, ["", "", "", "", "peepholes"], "peepholes"),
    ],
)
def test_recurrent_forms_that_are_refused(attributes, inputs, reason):
    weights = {
        "w": floats(1, 16, 3),
        "r": floats(1, 16, 4),
        "peepholes": floats(1, 12),
        "lengths": np.array([3, 2], np.int32),
    }
    names = ["x", "w", "r", *inputs]
    model = make_model(
        [node("LSTM", names, ["y"], name="rnn", hidden_size=4, **attributes)],
        {"x": [5, 2, 3]},
        {"y": None},
        weights,
    )
    refuse(model, rf"'rnn' \(LSTM\).*{reason}")


def test_full_constant_sequence_lengths_are_accepted():
    model = make_model(
        [node("GRU", ["x", "w", "r", "", "lengths"], ["y"], hidden_size=4)],
        {"x": [5, 2, 3]},
        {"y": None},
        {"w": floats(1, 12, 3), "r": floats(1, 12, 4), "lengths": np.array([5, 5], np.int32)},
    )
    assert compare(model, {"x": floats(5, 2, 3)}) < 1e-6


def test_module_is_well_formed_and_importing_leaves_the_model_alone():
    model = simple([node("MatMul", ["x", "w"], ["y"])], {"w": floats(6, 6)})
    before = onnx.ModelProto()
    before.CopyFrom(model)
    imported = import_model(model)
    assert relax.analysis.check_well_formed(imported.module)
    assert before == model
