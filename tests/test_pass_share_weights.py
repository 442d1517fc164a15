"""Pass ``ShareWeights``."""

from __future__ import annotations

import numpy as np
import pytest
from pass_checks import apply, calls, check, check_numbers, evaluate, table_of
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.passes.inject_pruning_masks import InjectPruningMasks
from dcc.passes.operators.encoded_weights import lookup_reference
from dcc.passes.options import Recipe
from dcc.passes.share_weights import ShareWeights

RANDOM = np.random.default_rng(5)
LEVELS = np.array([-1.5, -0.25, 0.5, 2.0], np.float32)


@I.ir_module
class Plain:
    @R.function
    def main(
        x: R.Tensor((2, 16), "float32"),
        w: R.Tensor((16, 9), "float32"),
        b: R.Tensor((9,), "float32"),
    ) -> R.Tensor((2, 9), "float32"):
        with R.dataflow():
            m = R.matmul(x, w)
            y = R.add(m, b)
            R.output(y)
        return y


@I.ir_module
class Masked:
    @R.function
    def main(
        x: R.Tensor((2, 16), "float32"),
        w: R.Tensor((16, 9), "float32"),
        w_mask: R.Tensor((16, 9), "bool"),
        b: R.Tensor((9,), "float32"),
    ) -> R.Tensor((2, 9), "float32"):
        with R.dataflow():
            masked = R.dcc.apply_mask(w, w_mask)
            m = R.matmul(x, masked)
            y = R.add(m, b)
            R.output(y)
        return y


@I.ir_module
class Shared:
    @R.function
    def main(
        x: R.Tensor((2, 16), "float32"),
        w_codes: R.Tensor((16, 9), "uint8"),
        w_codebook: R.Tensor((4,), "float32"),
        b: R.Tensor((9,), "float32"),
    ) -> R.Tensor((2, 9), "float32"):
        with R.dataflow():
            shared = R.dcc.lookup(w_codes, w_codebook)
            m = R.matmul(x, shared)
            y = R.add(m, b)
            R.output(y)
        return y


def inputs():
    return {"x": RANDOM.standard_normal((2, 16)).astype("float32")}


def table(masked=False, levels=LEVELS):
    w = levels[RANDOM.integers(0, len(levels), (16, 9))]
    b = RANDOM.standard_normal(9).astype("float32")
    if masked:
        w = np.where(RANDOM.random((16, 9)) < 0.5, w, np.float32(0))
    found = table_of(w=w, b=b)
    found.operator_types = {"w": "MatMul"}
    if masked:
        found.add_part("w", "mask", w != 0)
    return found


def test_distinct_values_become_the_codebook_bit_for_bit():
    weights = table()
    after = check(ShareWeights(weights, Recipe()), Plain, Shared)
    codes, codebook = weights.part("w", "codes"), weights.part("w", "codebook")
    np.testing.assert_array_equal(lookup_reference(codes, codebook), weights.arrays["w"])
    assert weights.reasons["w"] == ["codebook of 4 values"]
    assert weights.reasons["b"] == ["keeps its values: no codebook that saves bytes"]
    check_numbers(Plain, after, weights, inputs())


def test_mask_becomes_code_zero():
    weights = table(masked=True, levels=LEVELS[:3])
    after = check(ShareWeights(weights, Recipe()), Masked, Shared)
    codes, codebook = weights.part("w", "codes"), weights.part("w", "codebook")
    assert codebook[0] == 0
    np.testing.assert_array_equal(codes != 0, weights.part("w", "mask"))
    np.testing.assert_array_equal(codebook[codes], weights.arrays["w"])
    check_numbers(Masked, after, weights, inputs())


def test_many_values_are_kept_without_bits():
    weights = table_of(w=RANDOM.standard_normal((16, 9)).astype("float32"), b=np.ones(9, "float32"))
    weights.arrays["b"] = RANDOM.standard_normal(9).astype("float32")
    check(ShareWeights(weights, Recipe()), Plain, Plain)
    assert weights.reasons["w"] == ["keeps its values: no codebook that saves bytes"]


@pytest.mark.parametrize("initialization", ["linear", "density", "random"])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_bits_bound_the_codebook(bits, initialization):
    weights = table_of(w=RANDOM.standard_normal((16, 9)).astype("float32"), b=np.ones(9, "float32"))
    settings = {"bits": bits, "initialization": initialization}
    apply(ShareWeights(weights, Recipe(settings=settings)), Plain)
    codebook = weights.part("w", "codebook")
    assert 2 <= codebook.size <= 2**bits
    nearest = np.abs(weights.arrays["w"][..., None] - codebook).argmin(axis=-1)
    chosen = codebook[weights.part("w", "codes")]
    np.testing.assert_allclose(codebook[nearest], chosen, atol=1e-6)


def test_zero_is_one_of_the_values_of_a_pruned_weight():
    weights = table_of(w=RANDOM.standard_normal((16, 9)).astype("float32"), b=np.ones(9, "float32"))
    recipe = Recipe(settings={"bits": 2, "density": 0.5})
    masked = apply(InjectPruningMasks(weights, recipe), Plain)
    after = apply(ShareWeights(weights, recipe), masked)
    assert calls(after).count("dcc.lookup") == 2
    assert weights.part("w", "codebook").size == 4
    np.testing.assert_array_equal(weights.part("w", "codes") != 0, weights.part("w", "mask"))


def test_a_cluster_at_zero_leaves_the_mask():
    values = np.array([-1, 1], np.float32)[np.arange(144) % 2].reshape(16, 9)
    noise = np.float32(1e-3) * np.arange(144, dtype=np.float32).reshape(16, 9) * np.sign(values)
    weights = table_of(w=values + noise, b=np.ones(9, "float32"))
    weights.arrays["w"][8:] = -weights.arrays["w"][:8]
    weights.arrays["w"][0, 0] = weights.arrays["w"][8, 0] = 0
    recipe = Recipe(settings={"bits": 1})
    after = apply(ShareWeights(weights, recipe), apply(InjectPruningMasks(weights, recipe), Plain))
    assert calls(after).count("dcc.lookup") <= 2
    codes, codebook = weights.part("w", "codes"), weights.part("w", "codebook")
    np.testing.assert_array_equal(codebook[codes] != 0, weights.part("w", "mask"))
    assert np.count_nonzero(codebook == 0) == 1


def test_skipped_weight_is_left_alone():
    weights = table()
    check(ShareWeights(weights, Recipe(settings={"skip": True})), Plain, Plain)
    assert weights.reasons["w"] == ["not shared: the recipe skips it"]


def test_bias_follows_its_own_settings():
    weights = table_of(w=LEVELS[RANDOM.integers(0, 4, (16, 9))], b=np.ones(9, "float32"))
    weights.operator_types = {"w": "MatMul"}
    recipe = Recipe(settings={"bits": 2}, operator_types={"bias": {"skip": True}})
    apply(ShareWeights(weights, recipe), Plain)
    assert weights.reasons == {
        "w": ["codebook of 4 values"],
        "b": ["not shared: the recipe skips it"],
    }


def test_values_that_are_not_finite_are_not_clustered_but_shared_where_few():
    w = RANDOM.standard_normal((16, 9)).astype("float32")
    w[0, 0], w[1, 1] = np.nan, np.inf
    weights = table_of(w=w, b=np.ones(9, "float32"))
    apply(ShareWeights(weights, Recipe(settings={"bits": 3})), Plain)
    assert "not clustered: it has values that are not finite" in weights.reasons["w"]
    few = table_of(
        w=np.array([np.nan, np.inf, -0.0, 1], np.float32)[RANDOM.integers(0, 4, (16, 9))], b=w[0]
    )
    apply(ShareWeights(few, Recipe()), Plain)
    decoded = few.part("w", "codebook")[few.part("w", "codes")]
    np.testing.assert_array_equal(decoded.view("u4"), few.arrays["w"].view("u4"))


def test_result_is_what_the_codebook_says():
    weights = table_of(w=RANDOM.standard_normal((16, 9)).astype("float32"), b=np.ones(9, "float32"))
    after = apply(ShareWeights(weights, Recipe(settings={"bits": 3})), Plain)
    given = inputs()
    dense = weights.part("w", "codebook")[weights.part("w", "codes")]
    expected = given["x"] @ dense + weights.arrays["b"]
    np.testing.assert_allclose(evaluate(after, weights, given)[0], expected, rtol=1e-5, atol=1e-5)
