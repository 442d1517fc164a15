"""Pass ``FuseEpilogue``: what joins a layer, and what must not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pass_checks import apply, calls, check, check_numbers, coded_layers, table_of
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.passes.fuse_epilogue import FuseEpilogue
from dcc.passes.operators.coded_layers import CodedLayer
from dcc.passes.parameters import constant, parameter

RANDOM = np.random.default_rng(9)
BOOK = np.array([0, -1, 0.5], np.float32)


@I.ir_module
class Before:
    @R.function
    def main(
        x: R.Tensor((2, 4), "float32"),
        codes: R.Tensor((3, 4), "uint8"),
        book: R.Tensor((3,), "float32"),
    ) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            h = R.dcc.codebook_matmul(x, codes, book, layer="w")
            m = R.multiply(h, R.const([1.0, 2.0, 3.0], "float32"))
            a = R.add(R.const([[4.0, 5.0, 6.0]], "float32"), m)
            y = R.nn.relu(a)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(
        x: R.Tensor((2, 4), "float32"),
        codes: R.Tensor((3, 4), "uint8"),
        book: R.Tensor((3,), "float32"),
    ) -> R.Tensor((2, 3), "float32"):
        with R.dataflow():
            y = R.dcc.codebook_matmul(
                x,
                codes,
                book,
                R.const([1.0, 2.0, 3.0], "float32"),
                R.const([4.0, 5.0, 6.0], "float32"),
                layer="w",
                scale=1,
                bias=1,
                minimum=0.0,
            )
            R.output(y)
        return y


def floats(*shape):
    return RANDOM.standard_normal(shape).astype("float32")


def weights(*shape):
    return table_of(codes=RANDOM.integers(0, 3, shape).astype(np.uint8), book=BOOK)


def build(table, body, x=(2, 4), kind="matmul", attributes=None):
    """``main`` with one coded layer, and ``body(builder, layer's result, x)`` behind it."""
    data = parameter("x", floats(*x))
    weight = [parameter(name, table.arrays[name]) for name in ("codes", "book")]
    layer = CodedLayer(
        kind, "codebook", [data], weight, None, None, {"layer": "w", **(attributes or {})}
    )
    builder = relax.BlockBuilder()
    with builder.function("main", [data, *weight]):
        with builder.dataflow():
            result = builder.emit(body(builder, builder.emit(layer.call()), data))
            output = builder.emit_output(result)
        builder.emit_func_output(output)
    return builder.get()


def fused(body, x=(2, 4), codes=(3, 4), kind="matmul", attributes=None):
    """The coded layer after the pass, if nothing else is left; its numbers are checked."""
    table = weights(*codes)
    before = build(table, body, x, kind, attributes)
    after = apply(FuseEpilogue(), before)
    check(FuseEpilogue(), after, after)
    check_numbers(before, after, table, {"x": floats(*x)})
    (layer,) = coded_layers(after)
    return layer, [name for name in calls(after) if not name.startswith("dcc.")]


def test_scale_bias_and_relu_join():
    table = weights(3, 4)
    after = check(FuseEpilogue(), Before, Expected)
    check_numbers(Before, after, table, {"x": floats(2, 4)})


CONV = {"strides": [1, 1], "padding": [1, 1, 1, 1], "dilation": [1, 1], "groups": 1}


def test_batch_norm_joins_a_convolution():
    scale, shift = (constant(floats(1, 5, 1, 1)) for _ in range(2))
    layer, left = fused(
        lambda b, y, x: relax.op.clip(
            b.emit(relax.op.add(b.emit(relax.op.multiply(y, scale)), shift)), 0, 6
        ),
        (1, 4, 6, 6), (5, 4, 3, 3), "conv2d", CONV,
    )  # fmt: skip
    assert left == []
    assert [layer.attributes[key] for key in ("minimum", "maximum")] == [0, 6]


def test_a_clip_of_maximum_and_minimum_joins():
    low, high = (relax.const(np.float32(bound)) for bound in (-0.5, 0.75))
    layer, left = fused(lambda b, y, x: relax.op.minimum(b.emit(relax.op.maximum(y, low)), high))
    assert left == []
    assert [layer.attributes[key] for key in ("minimum", "maximum")] == [-0.5, 0.75]


def test_a_maximum_by_channel_stays():
    bounds = constant(floats(3))
    layer, left = fused(lambda b, y, x: relax.op.maximum(y, bounds))
    assert (left, "minimum" in layer.attributes) == (["maximum"], False)


def test_batch_norm_joins_a_convolution_along_one_axis():
    scale = constant(floats(5, 1))
    attributes = {"strides": [1], "padding": [0, 0], "dilation": [1], "groups": 1}
    layer, left = fused(
        lambda b, y, x: relax.op.multiply(y, scale), (1, 4, 9), (5, 4, 3), "conv1d", attributes
    )
    assert (left, layer.scale is not None, layer.bias) == ([], True, None)


def test_a_later_factor_multiplies_the_bias():
    bias, scale = floats(3), floats(3)
    layer, left = fused(
        lambda b, y, x: relax.op.multiply(b.emit(relax.op.add(y, constant(bias))), constant(scale))
    )
    assert left == []
    np.testing.assert_allclose(layer.bias.value.numpy(), bias * scale, rtol=1e-6)


def test_a_scalar_and_a_difference_join():
    body = lambda b, y, x: relax.op.subtract(  # noqa: E731
        b.emit(relax.op.multiply(y, constant(np.float32(0.5)))), constant(floats(3))
    )
    layer, left = fused(body)
    assert left == []
    np.testing.assert_array_equal(layer.scale.value.numpy(), np.full(3, 0.5, np.float32))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=3))
def test_clips_of_clips(ranges):
    """Bounds that meet, do not meet, or are the wrong way round; the last word is the maximum's."""

    def body(b, y, x):
        for low, high in ranges:
            y = b.emit(relax.op.clip(y, low, high))
        return y

    table = weights(3, 4)
    after = apply(FuseEpilogue(), build(table, body))
    (layer,) = coded_layers(after)
    low, high = (float(layer.attributes[key]) for key in ("minimum", "maximum"))
    values = np.linspace(-5, 5, 41)
    expected = values
    for first, second in ranges:
        expected = np.minimum(np.maximum(expected, first), second)
    np.testing.assert_array_equal(np.minimum(np.maximum(values, low), high), expected)


def test_clip_without_a_bound():
    largest = float(np.finfo(np.float32).max)
    layer, left = fused(lambda b, y, x: relax.op.clip(y, -largest, 1.0))
    assert left == []
    assert "minimum" not in layer.attributes
    assert layer.attributes["maximum"] == 1


LEFT = {
    "read twice": (lambda b, y, x: relax.op.add(b.emit(relax.op.nn.relu(y)), y), ["nn.relu", "add"]),
    "a residual": (lambda b, y, x: relax.op.add(y, b.emit(relax.op.strided_slice(x, [1], [0], [3]))),
                   ["strided_slice", "add"]),
    "twice itself": (lambda b, y, x: relax.op.multiply(y, y), ["multiply"]),
    "widened": (lambda b, y, x: relax.op.add(y, constant(floats(5, 1, 3))), ["add"]),
    "along the samples": (lambda b, y, x: relax.op.add(y, constant(floats(2, 1))), ["add"]),
    "a whole matrix": (lambda b, y, x: relax.op.add(y, constant(floats(2, 3))), ["add"]),
    "taken from a constant": (lambda b, y, x: relax.op.subtract(constant(floats(3)), y), ["subtract"]),
    "divided": (lambda b, y, x: relax.op.divide(y, constant(floats(3))), ["divide"]),
    "after a ReLU": (lambda b, y, x: relax.op.add(b.emit(relax.op.nn.relu(y)), constant(floats(3))),
                     ["add"]),
    "after something else": (lambda b, y, x: relax.op.nn.relu(b.emit(relax.op.tanh(y))),
                             ["tanh", "nn.relu"]),
}  # fmt: skip


@pytest.mark.parametrize("case", LEFT)
def test_what_must_stay(case):
    body, expected = LEFT[case]
    layer, left = fused(body)
    assert left == expected
    assert layer.scale is None
    assert layer.bias is None


def test_lookups_and_recurrences_have_no_epilogue():
    table = weights(5, 4)
    indices = parameter("x", np.zeros(3, np.int64))
    weight = [parameter(name, table.arrays[name]) for name in ("codes", "book")]
    layer = CodedLayer("take", "codebook", [indices], weight, None, None, {"layer": "w"})
    builder = relax.BlockBuilder()
    with builder.function("main", [indices, *weight]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.nn.relu(builder.emit(layer.call())))
        builder.emit_func_output(result)
    check(FuseEpilogue(), builder.get(), builder.get())


@I.ir_module
class TwoReaders:
    @R.function
    def main(
        x: R.Tensor((2, 4), "float32"),
        codes: R.Tensor((3, 4), "uint8"),
        book: R.Tensor((3,), "float32"),
    ) -> R.Tuple(R.Tensor((2, 3), "float32"), R.Tensor((2, 3), "float32")):
        with R.dataflow():
            h = R.dcc.codebook_matmul(x, codes, book, layer="w")
            y = R.nn.relu(h)
            R.output(h, y)
        return (h, y)


def test_a_result_that_is_an_output_too_stays():
    check(FuseEpilogue(), TwoReaders, TwoReaders)
