"""Pass ``InjectPruningMasks``."""

from __future__ import annotations

import numpy as np
import pytest
from pass_checks import apply, check, check_numbers, table_of
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.passes.inject_pruning_masks import InjectPruningMasks
from dcc.passes.options import Recipe
from dcc.passes.parameters import parameter

RANDOM = np.random.default_rng(4)


@I.ir_module
class Before:
    @R.function
    def main(
        x: R.Tensor((2, 8), "float32"),
        w: R.Tensor((8, 6), "float32"),
        v: R.Tensor((4, 6), "float32"),
    ) -> R.Tensor((2, 4), "float32"):
        with R.dataflow():
            h = R.matmul(x, w)
            t = R.permute_dims(v)
            y = R.matmul(h, t)
            R.output(y)
        return y


@I.ir_module
class Expected:
    @R.function
    def main(
        x: R.Tensor((2, 8), "float32"),
        w: R.Tensor((8, 6), "float32"),
        w_mask: R.Tensor((8, 6), "bool"),
        v: R.Tensor((4, 6), "float32"),
    ) -> R.Tensor((2, 4), "float32"):
        with R.dataflow():
            masked = R.dcc.apply_mask(w, w_mask)
            h = R.matmul(x, masked)
            t = R.permute_dims(v)
            y = R.matmul(h, t)
            R.output(y)
        return y


def weights(zeros=True):
    w = RANDOM.standard_normal((8, 6)).astype("float32")
    w[2, 3], w[0, :] = -0.0, 0
    v = RANDOM.standard_normal((4, 6)).astype("float32")
    return table_of(w=w if zeros else np.abs(w) + 1, v=v)


def test_zeros_that_are_there_become_the_mask():
    table = weights()
    after = check(InjectPruningMasks(table, Recipe()), Before, Expected)
    np.testing.assert_array_equal(table.part("w", "mask"), table.arrays["w"] != 0)
    assert table.reasons["w"] == ["mask keeps 41 of 48 weights"]
    assert table.reasons["v"] == ["no mask: it has no zeros"]
    x = RANDOM.standard_normal((2, 8)).astype("float32")
    check_numbers(Before, after, table, {"x": x})


def test_weight_without_zeros_is_left_alone():
    table = weights(zeros=False)
    check(InjectPruningMasks(table, Recipe()), Before, Before)
    assert table.part("w", "mask") is None


def test_skipped_weight_is_left_alone():
    table = weights()
    check(InjectPruningMasks(table, Recipe(layers=(("w'", {"skip": True}),))), Before, Before)
    assert table.reasons["w"] == ["not pruned: the recipe skips it"]


def masks(recipe, table=None):
    table = weights(zeros=False) if table is None else table
    apply(InjectPruningMasks(table, recipe), Before)
    return [table.part(name, "mask") for name in ("w", "v")], table


def test_magnitude_per_layer():
    (w, v), table = masks(Recipe(settings={"density": 0.25}))
    for mask, name in ((w, "w"), (v, "v")):
        size = np.abs(table.arrays[name])
        assert np.count_nonzero(mask) == mask.size // 4
        assert size[mask].min() >= size[~mask].max()


def test_magnitude_over_the_model():
    (w, v), table = masks(Recipe(settings={"density": 0.5, "scope": "global"}))
    sizes = np.concatenate([np.abs(table.arrays[name]).ravel() for name in ("w", "v")])
    kept = np.concatenate([mask.ravel() for mask in (w, v)])
    assert np.count_nonzero(kept) == 36
    assert sizes[kept].min() >= sizes[~kept].max()
    assert np.count_nonzero(w) != 24


def test_settings_of_an_operator_type_and_a_layer():
    recipe = Recipe(
        operator_types={"MatMul": {"density": 0.5}}, layers=(("v.", {"density": 0.25}),)
    )
    (w, v), _ = masks(recipe)
    assert (np.count_nonzero(w), np.count_nonzero(v)) == (24, 6)


def test_n_of_m_runs_along_the_reduction():
    """Down the columns of a weight that is multiplied as it is, along the rows of a transposed one."""
    (w, v), _ = masks(Recipe(settings={"structure": "n:m", "n": 1, "m": 2}))
    assert (w.reshape(4, 2, 6).sum(axis=1) == 1).all()
    assert (v.reshape(4, 3, 2).sum(axis=2) == 1).all()


def test_blocks_are_of_outputs_and_inputs():
    recipe = Recipe(settings={"structure": "block", "density": 0.5, "block": (1, 3)})
    (w, v), _ = masks(recipe)
    assert set(v.reshape(4, 2, 3).sum(axis=2).ravel()) == {0, 3}
    columns = w.T.reshape(6, 8)
    assert set(columns[:, :6].reshape(6, 2, 3).sum(axis=2).ravel()) <= {0, 3}
    assert set(columns[:, 6:].sum(axis=1)) <= {0, 2}


def test_recurrent_weights_are_pruned_along_their_inputs():
    table = table_of("LSTM", w=RANDOM.standard_normal((2, 8, 6)).astype("float32"))
    variable = parameter("w", table.arrays["w"])
    builder = relax.BlockBuilder()
    with builder.function("main", [variable]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.nn.relu(variable))
        builder.emit_func_output(result)
    apply(
        InjectPruningMasks(table, Recipe(settings={"structure": "n:m", "n": 2, "m": 3})),
        builder.get(),
    )
    assert (table.part("w", "mask").reshape(2, 8, 2, 3).sum(axis=3) == 2).all()


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_extreme_densities(density):
    (w, _), _ = masks(Recipe(settings={"density": density}))
    assert (w is None) if density else not w.any()


def test_names_that_are_taken_are_avoided():
    table = weights()
    table.arrays["w_mask"] = np.ones(3, np.float32)
    table.reserved = frozenset({"w_mask_2"})
    apply(InjectPruningMasks(table, Recipe()), Before)
    assert table.parts["w"] == {"mask": "w_mask_3"}
