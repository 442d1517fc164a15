"""Pass ``RewriteToCodebook``: which layers, through which views, and why not."""

from __future__ import annotations

import numpy as np
import pytest
from pass_checks import apply, calls, check, check_numbers, coded_layers, table_of
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.passes.operators import gru, lstm
from dcc.passes.operators.encoded_weights import apply_mask, lookup
from dcc.passes.parameters import parameter
from dcc.passes.rewrite_to_codebook import COMPUTED, NOT_ITS_WEIGHT, RewriteToCodebook

RANDOM = np.random.default_rng(7)
BOOK = np.array([0, -1.5, 0.25, 0.5, 3], np.float32)


@I.ir_module
class Before:
    @R.function
    def main(
        x: R.Tensor((2, 8), "float32"),
        w_codes: R.Tensor((6, 8), "uint8"),
        w_codebook: R.Tensor((5,), "float32"),
        v: R.Tensor((6, 4), "float32"),
        v_mask: R.Tensor((6, 4), "bool"),
    ) -> R.Tensor((2, 4), "float32"):
        with R.dataflow():
            w = R.dcc.lookup(w_codes, w_codebook)
            t = R.permute_dims(w)
            h = R.matmul(x, t)
            m = R.dcc.apply_mask(v, v_mask)
            y = R.matmul(h, m)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(
        x: R.Tensor((2, 8), "float32"),
        w_codebook: R.Tensor((5,), "float32"),
        w_codes_view: R.Tensor((6, 8), "uint8"),
        v_view: R.Tensor((4, 6), "float32"),
        v_mask_view: R.Tensor((4, 6), "bool"),
    ) -> R.Tensor((2, 4), "float32"):
        with R.dataflow():
            h = R.dcc.codebook_matmul(x, w_codes_view, w_codebook, layer="w'")
            y = R.dcc.raw_matmul(h, v_view, v_mask_view, layer="v'", masked=1)
            R.output(y)
        return y


def floats(*shape):
    return RANDOM.standard_normal(shape).astype("float32")


def coded_table(*shape, operator="MatMul"):
    """A weight ``w`` with codes and codebook, as ``ShareWeights`` leaves it."""
    codes = RANDOM.integers(0, len(BOOK), shape).astype(np.uint8)
    table = table_of(operator, w=BOOK[codes])
    table.add_part("w", "codes", codes)
    table.add_part("w", "codebook", BOOK)
    return table


def build(table, inputs, body, coded=True):
    """``main`` over inputs and the weight; ``body(builder, inputs, weight)`` gives the output."""
    variables = [parameter(name, array) for name, array in inputs.items()]
    names = ["w_codes", "w_codebook"] if coded else ["w"]
    weights = [parameter(name, table.arrays[name]) for name in names]
    builder = relax.BlockBuilder()
    with builder.function("main", [*variables, *weights]):
        with builder.dataflow():
            weight = builder.emit(lookup(*weights)) if coded else weights[0]
            result = builder.emit_output(builder.emit(body(builder, variables, weight)))
        builder.emit_func_output(result)
    return builder.get()


def test_matmul_over_codes_and_over_masked_values():
    table = coded_table(6, 8)
    mask = RANDOM.random((6, 4)) < 0.5
    table.arrays |= {"v": floats(6, 4)}
    table.onnx_names["v"] = "v'"
    table.add_part("v", "mask", mask)
    after = check(RewriteToCodebook(table), Before, Expected)
    check_numbers(Before, after, table, {"x": floats(2, 8)})
    assert table.reasons == {}


LAYERS = {
    "conv1d": ((10, 4, 3), {"x": (2, 8, 11)}, lambda b, x, w: relax.op.nn.conv1d(
        x[0], w, strides=2, padding=(1, 0), dilation=2, groups=2)),
    "conv2d": ((9, 8, 3, 2), {"x": (1, 8, 7, 9)}, lambda b, x, w: relax.op.nn.conv2d(
        x[0], w, strides=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2))),
    "lstm": ((28, 7), {"x": (3, 2, 28), "h": (2, 7), "c": (2, 7)}, lambda b, x, w: lstm(
        x[0], w, x[1], x[2], reverse=1)),
    "gru": ((21, 7), {"x": (3, 2, 21), "b": (21,), "h": (2, 7)}, lambda b, x, w: gru(
        x[0], w, x[1], x[2], linear_before_reset=1)),
}  # fmt: skip


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer(kind, coded):
    shape, inputs, body = LAYERS[kind]
    table = coded_table(*shape)
    arrays = {name: floats(*size) for name, size in inputs.items()}
    before = build(table, arrays, body, coded)
    after = apply(RewriteToCodebook(table), before)
    (layer,) = coded_layers(after)
    assert (layer.kind, layer.family) == (kind, "codebook" if coded else "raw")
    assert layer.attributes["layer"] == "w'"
    check_numbers(before, after, table, arrays)


@pytest.mark.parametrize("coded", [True, False])
def test_take(coded):
    table = coded_table(17, 6, operator="Gather")
    indices = np.array([[3, 0], [16, 3]])
    body = lambda b, x, w: relax.op.take(w, x[0], axis=0)  # noqa: E731
    before = build(table, {"i": indices}, body, coded)
    after = apply(RewriteToCodebook(table), before)
    assert [layer.kind for layer in coded_layers(after)] == ["take"]
    check_numbers(before, after, table, {"i": indices})


VIEWS = {
    "transposed": ((9, 12), lambda b, w: relax.op.permute_dims(w)),
    "as it is": ((12, 9), lambda b, w: w),
    "reshaped": ((4, 3, 9), lambda b, w: relax.op.reshape(w, (12, 9))),
    "squeezed": ((1, 12, 1, 9), lambda b, w: relax.op.squeeze(w, [0, 2])),
    "unsqueezed and back": ((12, 9), lambda b, w: relax.op.squeeze(
        b.emit(relax.op.expand_dims(w, 1)), [1])),
    "sliced": ((14, 9), lambda b, w: relax.op.strided_slice(w, [0], [1], [13])),
    "sliced with steps": ((25, 9), lambda b, w: relax.op.strided_slice(w, [0], [1], [25], [2])),
    "reversed": ((12, 9), lambda b, w: relax.op.strided_slice(w, [0, 1], [11, 8], [-13, -10], [-1, -1])),
    "split": ((12, 18), lambda b, w: relax.TupleGetItem(b.emit(relax.op.split(w, 2, 1)), 1)),
    "split at places": ((20, 9), lambda b, w: relax.TupleGetItem(
        b.emit(relax.op.split(w, [5, 17], 0)), 1)),
    "permuted and reshaped": ((3, 9, 4), lambda b, w: relax.op.reshape(
        b.emit(relax.op.permute_dims(w, [0, 2, 1])), (12, 9))),
    "cast": ((12, 9), lambda b, w: relax.op.astype(b.emit(relax.op.astype(w, "float64")), "float32")),
}  # fmt: skip


@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("view", VIEWS)
def test_views_are_moves_of_the_codes(view, coded):
    shape, moved = VIEWS[view]
    table = coded_table(*shape)
    body = lambda b, x, w: relax.op.matmul(x[0], b.emit(moved(b, w)))  # noqa: E731
    x = floats(2, 12)
    before = build(table, {"x": x}, body, coded)
    after = apply(RewriteToCodebook(table), before)
    assert calls(after) == [f"dcc.{'codebook' if coded else 'raw'}_matmul"]
    (layer,) = coded_layers(after)
    assert [int(n) for n in layer.weight[0].ty.shape] == [9, 12]
    check_numbers(before, after, table, {"x": x})


def test_a_weight_for_two_layers_is_moved_once():
    table = coded_table(8, 8)

    def body(b, x, w):
        return relax.op.matmul(b.emit(relax.op.matmul(x[0], w)), w)

    x = floats(2, 8)
    before = build(table, {"x": x}, body)
    after = apply(RewriteToCodebook(table), before)
    first, second = coded_layers(after)
    assert first.weight[0].same_as(second.weight[0])
    assert [v.name for v in after["main"].params] == ["x", "w_codebook", "w_codes_view"]
    check_numbers(before, after, table, {"x": x})


def test_a_weight_that_is_read_otherwise_too_stays():
    table = coded_table(8, 8)

    def body(b, x, w):
        return relax.op.add(b.emit(relax.op.matmul(x[0], w)), b.emit(relax.op.sum(w)))

    x = floats(2, 8)
    before = build(table, {"x": x}, body)
    after = apply(RewriteToCodebook(table), before)
    assert sorted(calls(after)) == ["add", "dcc.codebook_matmul", "dcc.lookup", "sum"]
    check_numbers(before, after, table, {"x": x})


DECLINED = {
    "on the left": ((2, 8), {"x": (8, 3)}, lambda b, x, w: relax.op.matmul(w, x[0]),
                    f"relax.matmul: {NOT_ITS_WEIGHT}"),
    "computed": ((8, 3), {"x": (2, 8)}, lambda b, x, w: relax.op.matmul(
        x[0], b.emit(relax.op.exp(w))), f"relax.matmul: {COMPUTED}"),
    "with batches": ((5, 8, 3), {"x": (5, 2, 8)}, lambda b, x, w: relax.op.matmul(x[0], w),
                     "relax.matmul: its weight operand does not have 2 axes"),
    "looked up along the other axis": ((8, 3), {}, lambda b, x, w: relax.op.take(
        w, relax.const([1, 0], "int64"), axis=1),
        "relax.take: a lookup is rewritten along axis 0 of 2 axes only"),
    "another layout": ((3, 3, 2, 4), {"x": (1, 5, 5, 2)}, lambda b, x, w: relax.op.nn.conv2d(
        x[0], w, data_layout="NHWC", kernel_layout="HWIO"),
        "relax.nn.conv2d: its layouts are NHWC and HWIO"),
}  # fmt: skip


@pytest.mark.parametrize("case", DECLINED)
def test_declined_layers_have_a_reason(case):
    shape, inputs, body, reason = DECLINED[case]
    table = coded_table(*shape)
    before = build(table, {name: floats(*size) for name, size in inputs.items()}, body)
    check(RewriteToCodebook(table), before, before)
    assert table.reasons == {"w": [reason]}


def test_products_of_data_are_none_of_its_business():
    table = coded_table(8, 8)

    def body(b, x, w):
        scaled = b.emit(relax.op.matmul(x[0], w))
        return relax.op.matmul(scaled, b.emit(relax.op.permute_dims(scaled)))

    after = apply(RewriteToCodebook(table), build(table, {"x": floats(4, 8)}, body))
    assert calls(after).count("matmul") == 1
    assert table.reasons == {}


@I.ir_module
class Branches:
    @R.function
    def main(
        c: R.Tensor((), "bool"),
        x: R.Tensor((2, 8), "float32"),
        w_codes: R.Tensor((8, 8), "uint8"),
        w_codebook: R.Tensor((5,), "float32"),
    ) -> R.Tensor((2, 8), "float32"):
        w = R.dcc.lookup(w_codes, w_codebook)
        if c:
            a = R.matmul(x, w)
            y = R.nn.relu(a)
        else:
            t = R.permute_dims(w)
            y = R.matmul(x, t)
        return y


@pytest.mark.parametrize("condition", [True, False])
def test_weights_in_branches(condition):
    table = coded_table(8, 8)
    after = apply(RewriteToCodebook(table), Branches)
    assert calls(after).count("dcc.codebook_matmul") == 2
    assert "dcc.lookup" not in calls(after)
    check_numbers(Branches, after, table, {"c": np.array(condition), "x": floats(2, 8)})


def test_a_mask_is_moved_like_its_values():
    table = table_of(w=floats(12, 9))
    table.add_part("w", "mask", RANDOM.random((12, 9)) < 0.5)
    x = parameter("x", floats(2, 12))
    weight, mask = (parameter(name, table.arrays[name]) for name in ("w", "w_mask"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x, weight, mask]):
        with builder.dataflow():
            masked = builder.emit(apply_mask(weight, mask))
            part = builder.emit(relax.op.strided_slice(masked, [1], [2], [7]))
            result = builder.emit_output(builder.emit(relax.op.matmul(x, part)))
        builder.emit_func_output(result)
    after = apply(RewriteToCodebook(table), builder.get())
    assert [v.name for v in after["main"].params] == ["x", "w_view", "w_mask_view"]
    check_numbers(builder.get(), after, table, {"x": floats(2, 12)})
