"""Passes ``LegalizeCodedLayers`` and ``FoldHuffmanDecode``: kernels over packed weights."""

from __future__ import annotations

import numpy as np
import pytest
from pass_checks import apply, check, coded_layers, constant_bytes, evaluate, table_of
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.passes.fold_huffman_decode import FoldHuffmanDecode
from dcc.passes.legalize_coded_layers import EXPAND, HUFFMAN, LAYER, SCHEDULED, LegalizeCodedLayers
from dcc.passes.operators.coded_layers import CodedLayer
from dcc.passes.parameters import parameter
from dcc.passes.select_storage import SelectStorage
from dcc.targets.registry import get_target

RANDOM = np.random.default_rng(11)
HOST = get_target("host")
FORMS = ("dense", "codebook", "sparse", "huffman")


@I.ir_module
class Before:
    @R.function
    def main(
        x: R.Tensor((1, 64), "float32"),
        codes: R.Tensor((48, 64), "uint8"),
        book: R.Tensor((4,), "float32"),
    ) -> R.Tensor((1, 48), "float32"):
        with R.dataflow():
            y = R.dcc.codebook_matmul(x, codes, book, layer="fc/1")
            R.output(y)
        return y


@I.ir_module
class NoLayers:
    @R.function
    def main(x: R.Tensor((1, 64), "float32")) -> R.Tensor((1, 64), "float32"):
        with R.dataflow():
            y = R.nn.relu(x)
            R.output(y)
        return y


def table(shape=(48, 64), density=0.2):
    codes = RANDOM.integers(1, 4, shape).astype(np.uint8)
    codes[RANDOM.random(shape) >= density] = 0
    found = table_of(codes=codes, book=np.array([0, 1, -2, 0.5], np.float32))
    found.onnx_names = {}
    return found


def legalized(weights, module, form):
    chosen = apply(SelectStorage(weights, HOST, form), module)
    return apply(LegalizeCodedLayers(weights, HOST), chosen)


def kernels(module):
    return {
        v.name_hint: f for v, f in module.functions_items() if not isinstance(f, relax.Function)
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_becomes_a_kernel_over_its_packed_weight(form):
    weights = table()
    after = legalized(weights, Before, form)
    assert [v.name for v in after["main"].params] == ["x"]
    assert coded_layers(after) == []
    found = kernels(after)
    assert f"layer_fc_1_matmul_{form}" in found
    assert ("layer_fc_1_expand" in found) == (form == "dense")
    for name, kernel in found.items():
        assert kernel.attrs[LAYER] == "fc/1"
        assert kernel.attrs[SCHEDULED] == 1
        assert (EXPAND in kernel.attrs) == (name == "layer_fc_1_expand")
        assert (HUFFMAN in kernel.attrs) == (weights.packed[name].form == "huffman")
    (stored,) = weights.layer_packed["fc/1"]
    assert sum(constant_bytes(after)) == sum(a.nbytes for a in stored.arrays.values())
    dense = weights.arrays["book"][weights.arrays["codes"]]
    x = RANDOM.standard_normal((1, 64)).astype("float32")
    folded = apply(FoldHuffmanDecode(weights, HOST), after)
    got = evaluate(folded, weights, {"x": x})[0]
    np.testing.assert_allclose(got, x @ dense.T, rtol=1e-5, atol=1e-5)


def test_other_operators_are_left_alone():
    check(LegalizeCodedLayers(table(), HOST), NoLayers, NoLayers)
    check(FoldHuffmanDecode(table(), HOST), NoLayers, NoLayers)


def test_layers_in_another_form_have_nothing_to_fold():
    weights = table()
    after = legalized(weights, Before, "sparse")
    check(FoldHuffmanDecode(weights, HOST), after, after)


def test_folding_codes_the_constants():
    weights = table()
    before = legalized(weights, Before, "huffman")
    after = apply(FoldHuffmanDecode(weights, HOST), before)
    (name,) = kernels(after)
    assert name == "layer_fc_1_matmul_huffman_folded"
    assert HUFFMAN not in kernels(after)[name].attrs
    assert sum(constant_bytes(after)) < sum(constant_bytes(before))
    (stored,) = weights.layer_packed["fc/1"]
    assert sum(constant_bytes(after)) == sum(a.nbytes for a in stored.arrays.values())
    assert "stream" in stored.arrays
    check(FoldHuffmanDecode(weights, HOST), after, after)


def layer_module(weights, kind, data, attributes, form):
    """``main`` with one coded layer, in the form that is asked for."""
    variables = [parameter(name, array) for name, array in data.items()]
    operands = [parameter(name, weights.arrays[name]) for name in ("codes", "book")]
    layer = CodedLayer(
        kind, "codebook", variables, operands, None, None, {"layer": "w", **attributes}
    )
    builder = relax.BlockBuilder()
    with builder.function("main", [*variables, *operands]):
        with builder.dataflow():
            output = builder.emit_output(builder.emit(layer.call()))
        builder.emit_func_output(output)
    return legalized(weights, builder.get(), form)


def floats(*shape):
    return RANDOM.standard_normal(shape).astype("float32")


KINDS = {
    "matmul": ((9, 16), {"x": floats(20, 16)}, {}),
    "conv1d": ((9, 4, 3), {"x": floats(2, 4, 9)},
               {"strides": [2], "padding": [1, 0], "dilation": [1], "groups": 1}),
    "conv2d": ((9, 4, 3, 3), {"x": floats(1, 4, 7, 9)},
               {"strides": [1, 2], "padding": [1, 0, 2, 1], "dilation": [1, 1], "groups": 1}),
    "take": ((17, 9), {"i": np.array([3, -1, 0])}, {}),
    "lstm": ((36, 9), {"p": floats(4, 2, 36), "h": floats(2, 9), "c": floats(2, 9)},
             {"reverse": 0, "input_forget": 0}),
    "gru": ((27, 9), {"p": floats(4, 2, 27), "b": floats(27), "h": floats(2, 9)},
            {"reverse": 1, "linear_before_reset": 0}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_computes_the_same_in_every_form(kind):
    shape, data, attributes = KINDS[kind]
    weights = table(shape, density=0.5)
    results = []
    for form in FORMS:
        module = layer_module(weights, kind, data, attributes, form)
        module = apply(FoldHuffmanDecode(weights, HOST), module)
        results.append(evaluate(module, weights, data))
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_convolution_of_one_window_is_a_product(form):
    data = {"x": floats(3, 4, 2, 5)}
    attributes = {"strides": [1, 1], "padding": [0] * 4, "dilation": [1, 1], "groups": 1}
    weights = table((9, 4, 2, 5), density=0.5)
    module = layer_module(weights, "conv2d", data, attributes, form)
    assert any("matmul" in variable.name_hint for variable in module.get_global_vars())
    module = apply(FoldHuffmanDecode(weights, HOST), module)
    dense = weights.arrays["book"][weights.arrays["codes"]].reshape(9, -1)
    expected = (data["x"].reshape(3, -1) @ dense.T).reshape(3, 9, 1, 1)
    np.testing.assert_allclose(evaluate(module, weights, data)[0], expected, rtol=1e-4, atol=1e-4)


@I.ir_module
class Halves:
    """Two layers over weights of one shape and one name, as the directions of an LSTM are."""

    @R.function
    def main(
        x: R.Tensor((1, 64), "float32"),
        codes: R.Tensor((48, 64), "uint8"),
        other: R.Tensor((48, 64), "uint8"),
        book: R.Tensor((4,), "float32"),
    ) -> R.Tensor((1, 48), "float32"):
        with R.dataflow():
            a = R.dcc.codebook_matmul(x, codes, book, layer="w")
            b = R.dcc.codebook_matmul(x, other, book, layer="w")
            y = R.subtract(a, b)
            R.output(y)
        return y


@pytest.mark.parametrize("form", FORMS)
def test_pieces_of_one_weight_have_kernels_of_their_own(form):
    weights = table(density=1.0)
    weights.arrays["other"] = weights.arrays["codes"][::-1].copy()
    module = apply(FoldHuffmanDecode(weights, HOST), legalized(weights, Halves, form))
    x = floats(1, 64)
    one, two = (weights.arrays["book"][weights.arrays[name]] for name in ("codes", "other"))
    got = evaluate(module, weights, {"x": x})[0]
    np.testing.assert_allclose(got, x @ one.T - x @ two.T, rtol=1e-4, atol=1e-4)
    assert len(weights.layer_packed["w"]) == 2
