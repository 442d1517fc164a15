"""Pass ``BindPlainWeights``."""

from __future__ import annotations

import numpy as np
from pass_checks import apply, calls, check, check_numbers, constant_bytes, table_of
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.passes.bind_plain_weights import BindPlainWeights

RANDOM = np.random.default_rng(8)


@I.ir_module
class Before:
    @R.function
    def main(
        x: R.Tensor((2, 8), "float32"),
        w_codes: R.Tensor((6, 8), "uint8"),
        w_codebook: R.Tensor((3,), "float32"),
        b_codes: R.Tensor((6,), "uint8"),
        b_codebook: R.Tensor((3,), "float32"),
        v: R.Tensor((6, 6), "float32"),
        v_mask: R.Tensor((6, 6), "bool"),
        s: R.Tensor((6, 1), "float64"),
    ) -> R.Tensor((2, 6), "float32"):
        with R.dataflow():
            h = R.dcc.codebook_matmul(x, w_codes, w_codebook, layer="w")
            b = R.dcc.lookup(b_codes, b_codebook)
            r = R.reshape(b, (1, 6))
            a = R.add(h, r)
            m = R.dcc.apply_mask(v, v_mask)
            e = R.exp(m)
            p = R.matmul(a, e)
            t = R.permute_dims(s)
            f = R.astype(t, "float32")
            y = R.add(p, f)
            R.output(y)
        return y


def table():
    codes = RANDOM.integers(0, 3, (6, 8)).astype(np.uint8)
    book = np.array([0, 1.5, -2], np.float32)
    arrays = {
        "w_codes": codes, "w_codebook": book, "b_codes": codes[:, 0].copy(), "b_codebook": book,
        "v": RANDOM.standard_normal((6, 6)).astype("float32"), "v_mask": RANDOM.random((6, 6)) < 0.5,
        "s": RANDOM.standard_normal((6, 1)),
    }  # fmt: skip
    found = table_of(**arrays)
    found.onnx_names = {}
    return found


def test_everything_but_the_weights_of_coded_layers_is_folded():
    weights = table()
    after = apply(BindPlainWeights(weights), Before)
    assert [v.name for v in after["main"].params] == ["x", "w_codes", "w_codebook"]
    assert calls(after) == ["dcc.codebook_matmul", "add", "matmul", "add"]
    assert sorted(constant_bytes(after)) == [24, 24, 144]
    check(BindPlainWeights(weights), after, after)
    x = RANDOM.standard_normal((2, 8)).astype("float32")
    check_numbers(Before, after, weights, {"x": x})


@I.ir_module
class AlsoReadOtherwise:
    @R.function
    def main(i: R.Tensor((3,), "int64"), w: R.Tensor((8, 6), "float32")) -> R.Tensor(
        (3, 6), "float32"
    ):
        with R.dataflow():
            h = R.dcc.raw_take(i, w, layer="w")
            m = R.max(w)
            y = R.add(h, m)
            R.output(y)
        return y


def test_a_weight_that_a_coded_layer_reads_too_is_parameter_and_constant():
    weights = table_of(w=RANDOM.standard_normal((8, 6)).astype("float32"))
    after = apply(BindPlainWeights(weights), AlsoReadOtherwise)
    assert [v.name for v in after["main"].params] == ["i", "w"]
    assert calls(after) == ["dcc.raw_take", "add"]
    check_numbers(AlsoReadOtherwise, after, weights, {"i": np.array([1, -1, 7])})


@I.ir_module
class NoWeights:
    @R.function
    def main(x: R.Tensor((2, 8), "float32")) -> R.Tensor((2, 8), "float32"):
        with R.dataflow():
            y = R.nn.relu(x)
            R.output(y)
        return y


def test_inputs_are_left_alone():
    check(BindPlainWeights(table_of()), NoWeights, NoWeights)
