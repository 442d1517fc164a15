"""Properties of the masks that pruning finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dcc.errors import RecipeError
from dcc.passes.options import LayerOptions
from dcc.passes.pruning import (
    block_mask,
    channel_block_mask,
    global_threshold,
    magnitude_mask,
    mask_for,
    n_of_m_mask,
    nonzero_mask,
    threshold_mask,
)

VALUES = st.floats(-4, 4, width=16)
WEIGHTS = st.sampled_from(["float16", "float32", "float64"]).flatmap(
    lambda dtype: arrays.arrays(
        dtype, arrays.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=VALUES
    )
)
DENSITIES = st.floats(0, 1)


@given(WEIGHTS)
def test_existing_zeros(weight):
    np.testing.assert_array_equal(nonzero_mask(weight), weight != 0)


@given(WEIGHTS, DENSITIES)
def test_magnitude_keeps_as_many_as_asked_and_the_largest(weight, density):
    mask = magnitude_mask(weight, density)
    assert np.count_nonzero(mask) == min(round(density * weight.size), np.count_nonzero(weight))
    if mask.any() and not mask.all():
        assert np.abs(weight[mask]).min() >= np.abs(weight[~mask]).max()


@given(WEIGHTS, DENSITIES, DENSITIES)
def test_a_higher_density_keeps_what_a_lower_one_does(weight, one, other):
    low, high = sorted((one, other))
    assert not (magnitude_mask(weight, low) & ~magnitude_mask(weight, high)).any()


@given(WEIGHTS, DENSITIES)
def test_pruning_twice_is_pruning_once(weight, density):
    mask = magnitude_mask(weight, density)
    pruned = np.where(mask, weight, 0).astype(weight.dtype)
    np.testing.assert_array_equal(magnitude_mask(pruned, density), mask)


@given(st.lists(WEIGHTS, min_size=1, max_size=4), DENSITIES)
def test_one_threshold_for_several_weights(weights, density):
    threshold = global_threshold(weights, density)
    kept = sum(np.count_nonzero(threshold_mask(weight, threshold)) for weight in weights)
    sizes = np.concatenate([np.abs(weight).astype("float64").ravel() for weight in weights])
    wanted = round(density * sizes.size)
    assert kept >= min(wanted, np.count_nonzero(sizes))  # more only where magnitudes are equal
    above = sum(np.count_nonzero(np.abs(weight) > threshold) for weight in weights)
    assert above <= wanted


@given(WEIGHTS, st.integers(1, 4), st.integers(0, 4), st.data())
def test_n_of_m_keeps_the_n_largest_of_each_group(weight, n, more, draw):
    m = n + more
    axis = draw.draw(st.integers(0, weight.ndim - 1))
    mask = n_of_m_mask(weight, n, m, axis)
    moved, kept = np.moveaxis(weight, axis, -1), np.moveaxis(mask, axis, -1)
    for start in range(0, moved.shape[-1], m):
        group, chosen = np.abs(moved[..., start : start + m]), kept[..., start : start + m]
        counts = np.minimum(np.count_nonzero(group, axis=-1), n)
        np.testing.assert_array_equal(np.count_nonzero(chosen, axis=-1), counts)
        smallest = np.where(chosen, group, np.inf).min(axis=-1)
        assert (smallest >= np.where(chosen, 0, group).max(axis=-1)).all()


@given(WEIGHTS, DENSITIES, st.tuples(st.integers(1, 3), st.integers(1, 5)), st.data())
def test_blocks_are_kept_or_dropped_whole(weight, density, block, draw):
    axis = draw.draw(st.sampled_from(sorted({0, 1, weight.ndim - 1})))
    full = np.where(weight == 0, weight.dtype.type(0.5), weight)
    mask = block_mask(full, density, block, axis)
    assert mask.shape == weight.shape
    if axis == weight.ndim - 1:
        matrix = mask.reshape(-1, weight.shape[-1])
    else:
        matrix = mask.reshape(len(mask), -1).T if axis == 0 else mask.reshape(len(mask), -1)
    kept = 0
    for row in range(0, matrix.shape[0], block[0]):
        for column in range(0, matrix.shape[1], block[1]):
            part = matrix[row : row + block[0], column : column + block[1]]
            assert part.all() or not part.any()
            kept += bool(part.all())
    blocks = -(-matrix.shape[0] // block[0]) * -(-matrix.shape[1] // block[1])
    assert kept == round(density * blocks)


def test_ties_are_broken_by_position():
    weight = np.full((2, 4), 0.5, np.float32)
    np.testing.assert_array_equal(magnitude_mask(weight, 0.5), [[True] * 4, [False] * 4])


def test_what_is_not_a_number_is_kept():
    weight = np.array([[np.nan, 1, -2, np.inf]], np.float32)
    np.testing.assert_array_equal(magnitude_mask(weight, 0.5), [[True, False, False, True]])


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_the_ends_of_the_scale(density):
    weight = np.random.default_rng(0).standard_normal((7, 9)).astype("float32")
    assert magnitude_mask(weight, density).all() == bool(density)
    assert magnitude_mask(weight, density).any() == bool(density)


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    weight = np.arange(-8, 8, dtype=np.float32).astype(ml_dtypes.bfloat16).reshape(4, 4)
    assert np.count_nonzero(magnitude_mask(weight, 0.25)) == 4
    assert np.count_nonzero(n_of_m_mask(weight, 2, 4, axis=1)) == 8
    assert block_mask(weight, 0.5, (1, 4), axis=1).any()


def test_masks_by_options():
    weight = np.array([[0.0, 1, -3, 2], [5, 0, 0, -1]], np.float32)
    masks = {
        name: mask_for(weight, LayerOptions(**options), None, axis=1).astype(int).tolist()
        for name, options in {
            "zeros": {},
            "half": {"density": 0.5},
            "n:m": {"structure": "n:m", "n": 1, "m": 2},
            "blocks": {"structure": "block", "density": 0.5, "block": (1, 2)},
        }.items()
    }
    assert masks == {
        "zeros": [[0, 1, 1, 1], [1, 0, 0, 1]],
        "half": [[0, 1, 1, 1], [1, 0, 0, 0]],
        "n:m": [[0, 1, 1, 0], [1, 0, 0, 1]],
        "blocks": [[0, 0, 1, 1], [1, 0, 0, 0]],
    }
    np.testing.assert_array_equal(
        mask_for(weight, LayerOptions(density=0.1, scope="global"), 2.5, axis=1),
        np.abs(weight) >= 2.5,
    )
    with pytest.raises(RecipeError, match=r"0 < n <= m, got 5:4"):
        mask_for(weight, LayerOptions(structure="n:m", n=5), None, axis=1)


@given(
    arrays.arrays(
        "float32", arrays.array_shapes(min_dims=3, max_dims=4, max_side=5), elements=VALUES
    ),
    DENSITIES,
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_channel_blocks_are_kept_or_dropped_whole_at_each_position(weight, density, block):
    full = np.where(weight == 0, 1, weight).astype(np.float32)
    mask = channel_block_mask(full, density, block, axis=1)
    kept = blocks = 0
    for row in range(0, full.shape[0], block[0]):
        for column in range(0, full.shape[1], block[1]):
            part = mask[row : row + block[0], column : column + block[1]]
            part = part.reshape(*part.shape[:2], -1)
            assert (part.all(axis=(0, 1)) == part.any(axis=(0, 1))).all()
            kept += int(part.all(axis=(0, 1)).sum())
            blocks += part.shape[2]
    assert kept == round(density * blocks)


def test_channel_blocks_of_a_matrix_are_its_blocks():
    weight = np.arange(1, 65, dtype=np.float32).reshape(8, 8)
    options = LayerOptions(structure="channel-block", block=(2, 4), density=0.5)
    same = LayerOptions(structure="block", block=(2, 4), density=0.5)
    np.testing.assert_array_equal(
        mask_for(weight, options, None, 1), mask_for(weight, same, None, 1)
    )
