"""``relax.dcc.lstm`` and ``relax.dcc.gru``: types, script, kernels against the numpy oracles."""

from __future__ import annotations

import time

import numpy as np
import pytest
import tvm
from tvm import relax

from dcc.passes.operators import gru, lstm
from dcc.passes.operators.recurrent_reference import gru_reference, lstm_reference

RANDOM = np.random.default_rng(2)


def make_inputs(kind, steps, batch, hidden):
    gates = 4 if kind == "lstm" else 3
    shapes = [(steps, batch, gates * hidden), (gates * hidden, hidden)]
    shapes += [(batch, hidden)] * 2 if kind == "lstm" else [(gates * hidden,), (batch, hidden)]
    return [RANDOM.standard_normal(shape).astype("float32") * 0.5 for shape in shapes]


def make_module(kind, inputs, **attributes):
    builder = relax.BlockBuilder()
    variables = [
        relax.Var(f"v{i}", relax.TensorType(a.shape, "float32")) for i, a in enumerate(inputs)
    ]
    with builder.function("main", variables):
        call = {"lstm": lstm, "gru": gru}[kind](*variables, **attributes)
        builder.emit_func_output(builder.emit(call))
    return builder.get()


def run(module, inputs):
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    return [t.numpy() for t in machine["main"](*[tvm.runtime.tensor(a) for a in inputs])]


@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 2, 7), (3, 1, 16), (6, 3, 33)])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("flag", [0, 1])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_kernel_agrees_with_the_oracle(kind, flag, reverse, sizes):
    inputs = make_inputs(kind, *sizes)
    option = "input_forget" if kind == "lstm" else "linear_before_reset"
    oracle = lstm_reference if kind == "lstm" else gru_reference
    attributes = {"reverse": reverse, option: flag}
    got = run(make_module(kind, inputs, **attributes), inputs)
    for ours, expected in zip(got, oracle(*inputs, **attributes), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=2e-6)


def test_a_thousand_steps_compile_quickly():
    inputs = make_inputs("lstm", 1000, 1, 64)
    inputs[1] *= 0.2  # a larger matrix makes the recurrence chaotic
    start = time.perf_counter()
    got = run(make_module("lstm", inputs), inputs)
    assert time.perf_counter() - start < 20
    np.testing.assert_allclose(got[0], lstm_reference(*inputs)[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_script_is_printed_and_read_again(kind):
    module = make_module(kind, make_inputs(kind, 3, 2, 4), reverse=1)
    text = module.script()
    assert f"R.dcc.{kind}(" in text
    tvm.ir.assert_structural_equal(tvm.script.from_source(text), module)


def test_inputs_that_do_not_fit_are_refused():
    inputs = make_inputs("lstm", 3, 2, 4)
    inputs[1] = inputs[1][:, :3]
    with pytest.raises(
        TypeError, match=r"relax.dcc.lstm: input 1 is \(16, 3\), expected \(16, 4\)"
    ):
        make_module("lstm", inputs)


def test_half_precision_is_refused():
    inputs = make_inputs("gru", 3, 2, 4)
    variables = [
        relax.Var(f"v{i}", relax.TensorType(a.shape, "float16")) for i, a in enumerate(inputs)
    ]
    builder = relax.BlockBuilder()
    with builder.testing_scope([]), pytest.raises(TypeError, match="must be float32"):
        builder.normalize(gru(*variables))
