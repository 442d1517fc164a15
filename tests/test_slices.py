"""Relative indices of rows in lockstep: the mask comes back, in as few steps as its longest rows need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcc.codegen.slices import full_slices, slice_rows, unslice


def random_mask(seed, rows, columns, density):
    return np.random.default_rng(seed).random((rows, columns)) < density


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 40),
    columns=st.integers(0, 80),
    density=st.sampled_from([0.0, 0.01, 0.2, 0.9, 1.0]),
    lanes=st.integers(1, 16),
    gap_bits=st.integers(1, 8),
    sort=st.booleans(),
)
def test_mask_comes_back(seed, rows, columns, density, lanes, gap_bits, sort):
    mask = random_mask(seed, rows, columns, density)
    entries = slice_rows(mask, lanes, gap_bits, sort=sort)
    np.testing.assert_array_equal(unslice(entries, rows, columns), mask)
    assert entries.gaps.shape == entries.source.shape == (entries.bases[-1], lanes)
    assert entries.gaps.max(initial=0) < 1 << gap_bits
    kept = entries.source[entries.source >= 0]
    np.testing.assert_array_equal(np.sort(kept), np.flatnonzero(mask))


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 9))
def test_steps_of_a_slice_are_those_of_its_longest_row(seed, rows, lanes):
    mask = random_mask(seed, rows, 50, 0.3)
    entries = slice_rows(mask, lanes, 6)
    counts = [len(row) for row in map(np.flatnonzero, mask)]
    longest = [max(counts[at : at + lanes]) for at in range(0, rows, lanes)]
    np.testing.assert_array_equal(np.diff(entries.bases), longest)


def test_a_gap_of_the_full_width_takes_one_filler():
    """Gap 7 fits three bits; gap 8 is a filler (7, that is 8 columns) and a gap of 0."""
    mask = np.zeros((2, 20), bool)
    mask[0, 7] = mask[1, 8] = True
    entries = slice_rows(mask, 2, 3)
    np.testing.assert_array_equal(entries.gaps, [[7, 7], [0, 0]])
    np.testing.assert_array_equal(entries.source, [[7, -1], [-1, 28]])


def test_order_is_a_permutation_and_only_taken_where_it_pays():
    mask = np.zeros((33, 300), bool)
    mask[::4] = True
    entries = slice_rows(mask, 4, 4, sort=True)
    assert entries.order is not None
    assert sorted(entries.order) == [*range(33), 33, 33, 33]
    assert entries.bases[-1] == 3 * 300  # nine full rows in slices of four
    assert slice_rows(mask[::4], 4, 4, sort=True).order is None  # all rows are alike


@pytest.mark.parametrize(
    ("rows", "columns", "lanes"), [(1, 1, 1), (7, 3, 4), (16, 5, 16), (17, 2, 16)]
)
def test_full_slices_take_every_column(rows, columns, lanes):
    entries = full_slices(rows, columns, lanes)
    np.testing.assert_array_equal(np.diff(entries.bases), columns)
    assert not entries.gaps.any()
    assert unslice(entries, rows, columns).all()
    kept = entries.source[entries.source >= 0]
    np.testing.assert_array_equal(np.sort(kept), np.arange(rows * columns))
