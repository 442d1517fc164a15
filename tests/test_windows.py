"""Windows: every non-zero once, in the window of its step, whatever the shape of the weight."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weights import legal_forms, random_weight

from dcc.codegen.packed import pack
from dcc.codegen.packed_streams import entropy_code, pack_huffman
from dcc.codegen.packing import Packing
from dcc.codegen.row_order import dealt
from dcc.codegen.unpacking import unpack
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.codegen.windows import window_rows


def bits(array):
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 40),
    columns=st.integers(16, 130),
    density=st.sampled_from([0.0, 0.01, 0.2, 0.9, 1.0]),
    lanes=st.integers(1, 17),
    align=st.sampled_from([1, 4, 8, 16]),
    multiple=st.sampled_from([1, 2]),
)
def test_mask_comes_back(seed, rows, columns, density, lanes, align, multiple):
    mask = np.random.default_rng(seed).random((rows, columns)) < density
    entries = window_rows(mask, lanes, 16, align, sort=True, multiple=multiple)
    kept = entries.source >= 0
    np.testing.assert_array_equal(np.sort(entries.source[kept]), np.flatnonzero(mask))
    step, lane = np.nonzero(kept)
    row, column = np.divmod(entries.source[kept], columns)
    np.testing.assert_array_equal(entries.windows[step] + entries.offsets[kept], column)
    slice_of_step = np.repeat(np.arange(entries.slices), np.diff(entries.bases))
    place = slice_of_step[step] * lanes + lane
    np.testing.assert_array_equal(row, place if entries.order is None else entries.order[place])
    inside = (entries.windows >= 0) & (entries.windows <= columns - 16)
    assert inside.all()
    assert not entries.offsets[~kept].any()
    assert not (np.diff(entries.bases) % multiple).any()


def greedy(mask, window, align):
    """Windows of one slice, step by step."""
    columns = mask.shape[1]
    left = [list(np.flatnonzero(row)) for row in mask]
    windows = []
    while any(left):
        start = min(row[0] for row in left if row) // align * align
        start = min(start, columns - window)
        windows.append(start)
        left = [row[1:] if row and row[0] < start + window else row for row in left]
    return windows


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.03, 0.3, 1.0]), st.sampled_from([1, 8]))
def test_steps_are_those_of_the_greedy_walk(seed, density, align):
    mask = np.random.default_rng(seed).random((33, 90)) < density
    entries = window_rows(mask, 16, 32, align)
    for index in range(3):
        span = slice(entries.bases[index], entries.bases[index + 1])
        expected = greedy(mask[index * 16 : index * 16 + 16], 32, align)
        np.testing.assert_array_equal(entries.windows[span], expected)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 100)),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.99, 1.0]),
    levels=st.sampled_from([1, 2, 5, 16, 17, 100, 256, None]),
    lanes=st.sampled_from([8, 16]),
    window=st.sampled_from([16, 32, 64]),
    sort=st.booleans(),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_any_weight_comes_back(seed, shape, density, levels, lanes, window, sort, dtype):
    weight = random_weight(np.random.default_rng(seed), *shape, density, levels, dtype)
    packing = Packing(lanes, sort=sort, window=window)
    stored = [pack(weight, "sparse", packing)]
    if "huffman" in legal_forms(weight):
        stored += [uncoded := pack_huffman(weight, packing), entropy_code(uncoded)]
    for packed in stored:
        assert packed.window == (window if weight.mask is not None and shape[1] >= window else 0)
        np.testing.assert_array_equal(bits(unpack(packed)), bits(weight.decode()))
    for packed in (stored[0], stored[-1]):
        assert packed.nbytes.total == sum(array.nbytes for array in packed.arrays.values())


def test_columns_past_65535_need_wide_windows():
    dense = np.zeros((2, 70_000), np.float32)
    dense[0, [0, 65_535]] = 1, 2
    dense[1, 69_999] = 3
    weight = WeightMatrix.from_codes(dense.astype(np.uint8), np.arange(4, dtype=np.float32))
    packed = pack(weight, "sparse", Packing(16, window=32))
    assert packed.arrays["windows"].dtype == np.int32
    np.testing.assert_array_equal(unpack(packed), dense)


def test_rows_of_different_length_are_sorted():
    mask = np.zeros((64, 200), bool)
    mask[::8] = True
    mask[:, 3] = True
    assert window_rows(mask, 8, 32, 8, sort=True).order is not None
    assert window_rows(mask[::8], 8, 32, 8, sort=True).order is None


@pytest.mark.parametrize("slices", [0, 1, 4, 5, 31, 64, 129])
def test_dealing_is_fair(slices):
    """Of slices of falling length every half has about half of the steps."""
    order = dealt(slices)
    np.testing.assert_array_equal(np.sort(order), np.arange(slices))
    if slices >= 64:
        steps = (1000 - 5 * order)[: slices // 2].sum()
        assert abs(2 * steps / (1000 - 5 * order).sum() - 1) < 0.05


def test_windows_too_far_apart_are_refused():
    with pytest.raises(ValueError, match="windows of 8 columns cannot start at multiples of 16"):
        window_rows(np.ones((4, 64), bool), 4, 8, 16)
