"""Rows split over lanes: what is packed comes back, in every form, and fits where it is put."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from weights import legal_forms, random_weight

from dcc.codegen.packed_streams import entropy_code
from dcc.codegen.packing import Packing
from dcc.codegen.row_split import RowSplit
from dcc.codegen.unpacking import unpack
from dcc.schedules.kernels import pack_for


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 70),
    st.integers(1, 200),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from([1, 3, 16, 250, None]),
    st.sampled_from([(32, 1, 1), (16, 4, 1), (8, 8, 3), (32, 2, 2)]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([None, 5, 9]),
)
def test_what_is_packed_comes_back(seed, rows, columns, density, levels, split, words, gap_bits):
    weight = random_weight(np.random.default_rng(seed), rows, columns, density, levels)
    block_rows, segments, phases = split
    for form in legal_forms(weight):
        if form == "dense":
            continue
        packing = Packing(
            32,
            sort=form != "codebook",
            gap_bits=gap_bits,
            code_length=10 if form == "huffman" else None,
            segments=segments,
            block_rows=block_rows,
            phases=phases,
            load_words=words if form == "sparse" else 1,
        )
        packed = pack_for(weight, form, packing)
        np.testing.assert_array_equal(unpack(packed), weight.decode())
        stored = entropy_code(packed) if form == "huffman" else packed
        assert stored.nbytes.total == sum(array.nbytes for array in stored.arrays.values())
        np.testing.assert_array_equal(unpack(stored), weight.decode())


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 5), st.sampled_from([1, 2, 8]))
def test_segments_hold_all_columns(columns, segments, phases, multiple):
    packing = Packing(32, segments=segments, phases=phases)
    split = RowSplit.of(packing, columns, multiple)
    assert split.width % multiple == 0
    assert split.phases * split.phase_columns >= columns
    assert (split.phases - 1) * split.phase_columns < columns


def test_parts_of_a_block_stand_side_by_side():
    split = RowSplit(block_rows=4, segments=2, phases=3, width=5)
    place, phase, segment = (a.ravel() for a in np.mgrid[:8, :3, :2])
    parts = split.part(place, phase, segment)
    assert sorted(parts) == list(range(split.parts(8)))
    assert split.part(np.array(5), np.array(2), np.array(1)) == (1 * 3 + 2) * 2 * 4 + 1 * 4 + 1
