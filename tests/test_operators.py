"""The operators ``relax.dcc.*``: types, errors, numpy oracles, script there and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.passes.operators.coded_layers import FAMILIES, KINDS, CodedLayer, coded_layer
from dcc.passes.operators.encoded_weights import (
    apply_mask,
    apply_mask_reference,
    lookup,
    lookup_reference,
)

RANDOM = np.random.default_rng(12)
WINDOW_1D = {"strides": [2], "padding": [1, 0], "dilation": [2], "groups": 2}
WINDOW_2D = {"strides": [1, 2], "padding": [1, 0, 2, 1], "dilation": [1, 2], "groups": 1}


def variable(name, shape, dtype="float32"):
    return relax.Var(name, relax.TensorType(shape, dtype))


def module_of(call, *parameters):
    builder = relax.BlockBuilder()
    with builder.function("main", list(parameters)):
        try:
            result = builder.emit(call)
        except BaseException:
            builder._end_block()
            raise
        builder.emit_func_output(result)
    return builder.get()


def run(module, *arrays):
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    return machine["main"](*[tvm.runtime.tensor(array) for array in arrays]).numpy()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (7, 9), (3, 1, 5, 2)])
def test_apply_mask(shape, dtype):
    weight, mask = RANDOM.standard_normal(shape).astype(dtype), RANDOM.random(shape) < 0.5
    parameters = variable("w", shape, dtype), variable("m", shape, "bool")
    got = run(module_of(apply_mask(*parameters), *parameters), weight, mask)
    np.testing.assert_array_equal(got, apply_mask_reference(weight, mask))
    np.testing.assert_array_equal(got, np.where(mask, weight, 0))


def test_masked_values_are_zero_whatever_they_were():
    weight = np.array([np.nan, np.inf, -1.0, 2.0], np.float32)
    mask = np.array([False, False, False, True])
    parameters = variable("w", (4,)), variable("m", (4,), "bool")
    got = run(module_of(apply_mask(*parameters), *parameters), weight, mask)
    assert got.tobytes() == np.array([0, 0, 0, 2], np.float32).tobytes()
    assert apply_mask_reference(weight, mask).tobytes() == got.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("entries", [1, 3, 256])
def test_lookup(entries, dtype):
    codes = RANDOM.integers(0, entries, (5, 7)).astype(np.uint8)
    book = RANDOM.standard_normal(entries).astype(dtype)
    parameters = variable("c", (5, 7), "uint8"), variable("b", (entries,), dtype)
    got = run(module_of(lookup(*parameters), *parameters), codes, book)
    np.testing.assert_array_equal(got, lookup_reference(codes, book))
    np.testing.assert_array_equal(got, book[codes.astype(int)])


def test_worked_examples_of_the_docstrings():
    masked = apply_mask_reference(np.array([1.5, -2.0, 0.5]), np.array([True, False, True]))
    np.testing.assert_array_equal(masked, [1.5, 0.0, 0.5])
    book = np.array([0, -0.5, 0.75])
    codes = np.array([[2, 0], [1, 2]], np.uint8)
    np.testing.assert_array_equal(lookup_reference(codes, book), [[0.75, 0], [-0.5, 0.75]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: apply_mask(variable("w", (3, 4)), variable("m", (4, 3), "bool")), "differ"),
        (lambda: apply_mask(variable("w", (3,)), variable("m", (3,), "uint8")), "must be bool"),
        (lambda: lookup(variable("c", (3,), "int32"), variable("b", (4,))), "must be uint8"),
        (lambda: lookup(variable("c", (3,), "uint8"), variable("b", (4, 1))), "must have one axis"),
    ],
)
def test_operands_that_do_not_fit(call, message):
    made = call()
    with pytest.raises(TypeError, match=message):
        module_of(made, *made.args)


# Data and weight of each kind, and the shapes of its results.
SHAPES = {
    "matmul": ([(2, 5, 8)], (6, 8), [(2, 5, 6)], {}),
    "conv1d": ([(2, 4, 9)], (6, 2, 3), [(2, 6, 3)], WINDOW_1D),
    "conv2d": ([(1, 4, 7, 9)], (6, 4, 3, 2), [(1, 6, 8, 4)], WINDOW_2D),
    "take": ([(2, 3)], (9, 4), [(2, 3, 4)], {}),
    "lstm": ([(5, 2, 28), (2, 7), (2, 7)], (28, 7), [(5, 2, 7), (2, 7), (2, 7)],
             {"reverse": 1, "input_forget": 0}),
    "gru": ([(5, 2, 21), (21,), (2, 7)], (21, 7), [(5, 2, 7), (2, 7)],
            {"reverse": 0, "linear_before_reset": 1}),
}  # fmt: skip


def layer_of(kind, family="codebook", masked=False, weight=None, data=None, **changes):
    shapes, default, _, attributes = SHAPES[kind]
    weight = default if weight is None else weight
    integer = "int64" if kind == "take" else "float32"
    inputs = [variable(f"x{n}", s, integer) for n, s in enumerate(data or shapes)]
    if family == "codebook":
        operands = [variable("codes", weight, "uint8"), variable("book", (3,))]
    else:
        operands = [variable("values", weight)] + [variable("mask", weight, "bool")] * masked
    facts = {**attributes, "layer": "w", **changes.pop("attributes", {})}
    layer = CodedLayer(kind, family, inputs, operands, None, None, facts)
    return replace(layer, **changes)


def parameters_of(layer):
    parts = [*layer.data, *layer.weight, layer.scale, layer.bias]
    return [part for part in parts if part is not None]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_types_and_script_of_coded_layers(kind, family, masked):
    layer = layer_of(kind, family, masked)
    if kind in ("matmul", "conv1d", "conv2d"):
        layer = replace(layer, scale=variable("scale", (6,)))
        layer = replace(layer, bias=variable("bias", (6,)))
        layer.attributes.update(minimum=0.0, maximum=6.0, form="sparse")
    module = module_of(layer.call(), *parameters_of(layer))
    result = module["main"].ret_ty
    fields = result.fields if isinstance(result, relax.TupleType) else [result]
    assert [tuple(int(n) for n in field.shape) for field in fields] == SHAPES[kind][2]
    text = module.script(show_meta=True)
    assert f"R.dcc.{family}_{kind}(" in text
    again = tvm.script.from_source(text)
    tvm.ir.assert_structural_equal(again, module)
    taken_apart = coded_layer(again["main"].body.blocks[0].bindings[0].value)
    assert (taken_apart.kind, taken_apart.family) == (kind, family)
    assert taken_apart.attributes["layer"] == "w"
    assert len(taken_apart.weight) == (1 if family == "raw" and not masked else 2)
    assert (taken_apart.scale is None) == (layer.scale is None)


ERRORS = [
    ("matmul", {"weight": (6, 7)}, r"codebook_matmul: x \[2, 5, 8\] does not fit a weight \[6, 7\]"),
    ("matmul", {"weight": (6, 8, 1)}, r"expected a weight with 2 axes, got \[6, 8, 1\]"),
    ("take", {"weight": (9,)}, r"expected a weight with 2 axes, got \[9\]"),
    ("conv2d", {"weight": (6, 3, 3, 3)}, r"x .* does not fit a weight \[6, 3, 3, 3\] in 1 groups"),
    ("conv1d", {"weight": (5, 2, 3)}, r"does not fit a weight \[5, 2, 3\] in 2 groups"),
    ("conv2d", {"weight": (6, 4, 30, 3)}, r"the kernel \[6, 4, 30, 3\] is larger than the padded x"),
    ("conv2d", {"data": [(4, 7, 9)]}, "expected x with 4 axes"),
    ("lstm", {"weight": (28, 8)}, r"projected \[5, 2, 28\] does not fit a weight \[28, 8\]"),
    ("gru", {"weight": (28, 7)}, r"projected \[5, 2, 21\] does not fit a weight \[28, 7\]"),
    ("matmul", {"bias": variable("bias", (5,))}, r"scale and bias of shape \[6\], got \[5\]"),
    ("take", {"scale": variable("scale", (9,))}, "has no scale and no bias"),
    ("matmul", {"weight_operands": [variable("c", (6, 8), "int8"), variable("b", (3,))]},
     "expected codes of uint8 and a codebook with one axis, got int8"),
    ("matmul", {"weight_operands": [variable("c", (6, 8), "uint8"), variable("b", (3, 1))]},
     r"a codebook with one axis, got uint8 and \[3, 1\]"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "message"), ERRORS)
def test_coded_layers_that_do_not_fit(kind, changes, message):
    changes = dict(changes)
    operands = changes.pop("weight_operands", None)
    layer = layer_of(kind, **changes)
    if operands is not None:
        layer = replace(layer, weight=operands)
    with pytest.raises(TypeError, match=message):
        module_of(layer.call(), *parameters_of(layer))


@pytest.mark.parametrize(
    ("mask", "message"),
    [(variable("m", (8, 6), "bool"), "expected a mask of bool"),
     (variable("m", (6, 8), "uint8"), "expected a mask of bool")],
)  # fmt: skip
def test_masks_that_do_not_fit(mask, message):
    layer = layer_of("matmul", "raw", True)
    layer = replace(layer, weight=[layer.weight[0], mask])
    with pytest.raises(TypeError, match=message):
        module_of(layer.call(), *parameters_of(layer))


def test_convolution_without_its_window():
    layer = layer_of("conv2d")
    del layer.attributes["groups"]
    with pytest.raises(TypeError, match="codebook_conv2d: 'groups'"):
        module_of(layer.call(), *parameters_of(layer))


@I.ir_module
class Script:
    @R.function
    def main(
        x: R.Tensor((2, 8), "float32"),
        c: R.Tensor((6, 8), "uint8"),
        b: R.Tensor((3,), "float32"),
        w: R.Tensor((5, 6), "float32"),
        m: R.Tensor((5, 6), "bool"),
    ) -> R.Tensor((2, 5), "float32"):
        h = R.dcc.codebook_matmul(x, c, b, layer="one", form="huffman")
        y = R.dcc.raw_matmul(h, w, m, layer="two", masked=1)
        return y


def test_script_that_is_written_by_hand():
    bindings = Script["main"].body.blocks[0].bindings
    one, two = (coded_layer(binding.value) for binding in bindings)
    assert (one.attributes["form"], two.attributes["form"]) == ("huffman", "")
    assert [len(one.weight), len(two.weight)] == [2, 2]
    tvm.ir.assert_structural_equal(tvm.script.from_source(Script.script()), Script)


def test_other_operators_are_no_coded_layers():
    x = variable("x", (2, 8))
    assert coded_layer(x) is None
    assert coded_layer(relax.op.nn.relu(x)) is None
    assert coded_layer(lookup(variable("c", (3,), "uint8"), variable("b", (4,)))) is None
