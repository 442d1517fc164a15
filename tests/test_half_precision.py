"""``precision="fp16"``: what the pass does to a graph, and modules by PoCL, which stores halves."""

from __future__ import annotations

import numpy as np
import pocl
import pytest
from coded_models import CASES, data, model_of, node, weight
from onnx_models import run_reference
from tvm import relax

import dcc
from dcc.compressed_module import compressed_module
from dcc.errors import CompileError
from dcc.passes.halve_precision import DONE
from dcc.passes.pipeline import rewriting_steps
from dcc.targets.registry import get_target

SM90 = get_target("cuda-sm90")


def network():
    """Convolution, ReLU, pooling, and a product of what is left."""
    nodes = [
        node("Conv", ["x", "k", "b"], ["c"], kernel_shape=[3, 3]),
        node("Relu", ["c"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "w"], ["y"]),
    ]
    weights = {"k": weight(8, 3, 3, 3, density=0.4), "b": data(8), "w": weight(72, 10, density=0.3)}
    return model_of(nodes, {"x": data(2, 3, 8, 8)}, weights)


def halved(model):
    """``main`` after the pass, and the table."""
    prepared = compressed_module(model, SM90)
    steps = rewriting_steps(prepared.table, "fp16")
    return prepared.pipeline.run(prepared.module, steps)["main"], prepared.table


def casts(function):
    found = []

    def visit(expression):
        if (
            isinstance(expression, relax.Call)
            and getattr(expression.op, "name", "") == "relax.astype"
        ):
            found.append(str(expression.ty.dtype.dtype))

    relax.analysis.post_order_visit(function, visit)
    return found


def test_there_are_casts_at_the_ends_only():
    function, table = halved(network()[0])
    assert casts(function) == ["float16", "float32"]
    said = [reason for reasons in table.reasons.values() for reason in reasons]
    assert said.count(DONE) == 2


def test_values_that_halves_cannot_hold_stay():
    model, _ = model_of(
        [node("MatMul", ["x", "w"], ["y"])], {"x": data(1, 9)}, {"w": weight(9, 4) * 1e6}
    )
    function, table = halved(model)
    assert casts(function) == []
    assert any("beyond 65504" in r for reasons in table.reasons.values() for r in reasons)


@pytest.mark.parametrize("name", ["gather", "half_precision", "double_precision"])
def test_other_layers_stay(name):
    model, _ = CASES[name]()
    function, table = halved(model)
    assert casts(function) == []
    assert DONE not in [reason for reasons in table.reasons.values() for reason in reasons]


def test_wrong_precisions(tmp_path):
    model, _ = network()
    with pytest.raises(CompileError, match="'host' computes in fp32: precision fp16 is for cards"):
        dcc.compile(model, tmp_path / "m.so", precision="fp16")
    with pytest.raises(CompileError, match="unknown precision 'fp8': expected one of fp32, fp16"):
        dcc.compile(model, tmp_path / "m.so", target="cuda-sm90", precision="fp8")


@pytest.mark.emulated
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, marks=[] if form == "sparse" else [pytest.mark.slow])
        for form in ("auto", "dense", "codebook", "sparse", "huffman")
    ],
)
def test_modules(form):
    pocl.device()
    model, feeds = network()
    (got,) = pocl.Module(model, form, precision="fp16")(feeds)
    (expected,) = run_reference(model, feeds)
    assert got.dtype == np.float32
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert 1e-6 < error <= 5e-3  # rounded, and no more than that
