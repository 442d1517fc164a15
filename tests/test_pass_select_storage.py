"""Pass ``SelectStorage``."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from pass_checks import apply, check, check_numbers, coded_layers, table_of
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.errors import CompileError
from dcc.passes import select_storage
from dcc.passes.select_storage import OBJECTIVES, SelectStorage
from dcc.schedules.cost_model import Estimate
from dcc.targets.registry import get_target

RANDOM = np.random.default_rng(10)
HOST = get_target("host")


@I.ir_module
class Before:
    @R.function
    def main(
        x: R.Tensor((1, 64), "float32"),
        w: R.Tensor((32, 64), "float32"),
        v: R.Tensor((8, 32), "uint8"),
        v_book: R.Tensor((3,), "float32"),
    ) -> R.Tensor((1, 8), "float32"):
        with R.dataflow():
            h = R.dcc.raw_matmul(x, w, layer="first")
            y = R.dcc.codebook_matmul(h, v, v_book, layer="second")
            R.output(y)
        return y


@I.ir_module
class Huffman:
    @R.function
    def main(
        x: R.Tensor((1, 64), "float32"),
        w: R.Tensor((32, 64), "float32"),
        v: R.Tensor((8, 32), "uint8"),
        v_book: R.Tensor((3,), "float32"),
    ) -> R.Tensor((1, 8), "float32"):
        with R.dataflow():
            h = R.dcc.raw_matmul(x, w, layer="first", form="dense")
            y = R.dcc.codebook_matmul(h, v, v_book, layer="second", form="huffman")
            R.output(y)
        return y


def table():
    codes = RANDOM.integers(0, 3, (8, 32)).astype(np.uint8)
    codes[RANDOM.random((8, 32)) < 0.8] = 0
    w = RANDOM.standard_normal((32, 64)).astype("float32")
    return table_of(w=w, v=codes, v_book=np.array([0, 1, -2], np.float32))


def test_a_form_that_is_asked_for_where_it_is_legal():
    weights = table()
    after = check(SelectStorage(weights, HOST, "huffman"), Before, Huffman)
    assert weights.choices == {
        "first": [("dense", f"left dense: {refusal(after, weights, 'huffman')}")],
        "second": [("huffman", "asked for")],
    }
    x = RANDOM.standard_normal((1, 64)).astype("float32")
    check_numbers(Before, after, weights, {"x": x})


def refusal(module, weights, form):
    return select_storage.weight_matrix(coded_layers(module)[0], weights).refusal(form)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("dense", ["dense", "dense"]),
        ("codebook", ["dense", "codebook"]),
        ("sparse", ["sparse", "sparse"]),
        ("huffman", ["dense", "huffman"]),
    ],
)
def test_every_form_where_it_is_legal(form, expected):
    weights = table()
    after = apply(SelectStorage(weights, HOST, form), Before)
    assert [layer.attributes["form"] for layer in coded_layers(after)] == expected


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_auto_takes_the_best_estimate_and_says_why(objective):
    weights = table()
    after = apply(SelectStorage(weights, HOST, objective=objective), Before)
    for layer in coded_layers(after):
        ((form, reason),) = weights.choices[layer.attributes["layer"]]
        assert layer.attributes["form"] == form
        assert objective in reason


def test_size_prefers_the_fewest_bytes():
    weights = table()
    after = apply(SelectStorage(weights, HOST, objective="size"), Before)
    _, layer = coded_layers(after)
    shape = select_storage.layer_shape(layer)
    estimates = select_storage.estimate_all(
        select_storage.weight_matrix(layer, weights), shape, HOST
    )
    least = min(estimate.kept_bytes for estimate in estimates.values())
    assert estimates[layer.attributes["form"]].kept_bytes == least
    assert layer.attributes["form"] != "dense"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ties_go_to_the_fewer_bytes(monkeypatch, objective):
    def tied(weight, shape, target):
        forms = {"dense": (10, 90), "codebook": (30, 30), "sparse": (20, 20), "huffman": (25, 25)}
        if objective == "size":
            forms = {form: (10, touched) for form, (_, touched) in forms.items()}
        return {f: Estimate(f, kept, touched, 7.0) for f, (kept, touched) in forms.items()}

    def same(weight, shape, target):
        return dict.fromkeys(("dense", "codebook", "sparse", "huffman"), 7.0)

    monkeypatch.setattr(select_storage, "estimate_all", tied)
    monkeypatch.setattr(select_storage, "picojoules_of_forms", same)
    weights = table()
    apply(SelectStorage(weights, HOST, objective=objective), Before)
    assert weights.choices["second"][0][0] == "sparse"


def test_a_form_that_a_hook_has_set_stays():
    weights = table()
    after = apply(SelectStorage(weights, HOST, "sparse"), Huffman)
    tvm.ir.assert_structural_equal(after, Huffman)
    assert weights.choices == {}


def test_wrong_options():
    with pytest.raises(CompileError, match="'spars': expected one of auto, dense, codebook"):
        SelectStorage(table(), HOST, "spars")
    with pytest.raises(CompileError, match="'speed': expected one of latency, size, energy"):
        SelectStorage(table(), HOST, objective="speed")
