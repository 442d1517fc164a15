"""Relative indices with fillers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcc.codegen import relative_index
from dcc.errors import EncodingError

sizes = st.sampled_from([1, 7, 8, 9, 31, 32, 33, 1000, 70000])


def walk(gaps, is_filler):
    """Positions by the definition, one entry after the other."""
    position, kept = -1, []
    for gap, filler in zip(gaps.tolist(), is_filler.tolist(), strict=True):
        position += gap + 1
        if not filler:
            kept.append(position)
    return kept


def test_the_example_of_the_module():
    gaps, is_filler = relative_index.to_entries(np.array([1, 2, 9]), 10, 2)
    assert gaps.tolist() == [1, 0, 3, 2]
    assert is_filler.tolist() == [False, False, True, False]


@given(sizes, st.integers(1, 16), st.data())
def test_entries_round_trip(size, gap_bits, data):
    positions = np.array(
        sorted(data.draw(st.sets(st.integers(0, size - 1), max_size=40))), dtype=np.int64
    )
    gaps, is_filler = relative_index.to_entries(positions, size, gap_bits)
    assert int(gaps.max(initial=0)) < 1 << gap_bits
    assert (gaps[is_filler] == (1 << gap_bits) - 1).all()
    assert walk(gaps, is_filler) == positions.tolist()
    assert relative_index.from_entries(gaps, is_filler, size).tolist() == positions.tolist()


def test_bad_entries_are_refused():
    with pytest.raises(EncodingError, match="gap width 0"):
        relative_index.to_entries(np.array([1]), 2, 0)
    with pytest.raises(EncodingError, match="positions must lie"):
        relative_index.to_entries(np.array([2]), 2, 4)
    with pytest.raises(EncodingError, match="beyond the 4 weights"):
        relative_index.entry_positions(np.array([1, 2], dtype=np.uint16), 4)
