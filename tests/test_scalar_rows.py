"""Rows on scalars: any packing of a weight gives the product, on this machine's code too."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st

from dcc.codegen.packing import Packing
from dcc.codegen.vector_units import Neon, vector_unit
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.schedules.cpu.matmul import matmul
from dcc.schedules.cpu.scalar_rows import columns_beyond
from dcc.schedules.cpu.stack import PIPELINE
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.kernels import fold_kernel, pack_for
from dcc.targets.registry import get_target


def weight_of(rows, columns, density, levels, seed):
    random = np.random.default_rng(seed)
    mask = random.random((rows, columns)) < density
    if levels is None:
        values = random.standard_normal((rows, columns)).astype(np.float32)
        return WeightMatrix(values=np.where(mask, values, 0).astype(np.float32), mask=mask)
    codes = random.integers(1, levels, (rows, columns)) * mask
    codebook = random.standard_normal(levels).astype(np.float32)
    codebook[0] = 0
    return WeightMatrix(codes=codes.astype(np.uint8), codebook=codebook, mask=mask)


def run(weight, form, packing, samples):
    packed = pack_for(weight, form, packing)
    kernel = matmul(
        packed, samples, "float32", Epilogue(packed.rows, "float32"), "float32", vector=4
    )
    expected = "rows" if packed.every_column else "scalar_rows"
    assert kernel.attrs["global_symbol"] == expected
    arrays = packed.arrays
    if form == "huffman":
        kernel, coded = fold_kernel(kernel, packed, frozenset())
        arrays = coded.arrays
    x = np.random.default_rng(1).standard_normal((samples, weight.columns)).astype(np.float32)
    y = np.full((samples, weight.rows), np.nan, np.float32)
    given_arrays = {"x": x, "y": y, **arrays}
    module = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    call = tvm.compile(module, get_target("host").tvm_target(), tir_pipeline=PIPELINE)["main"]
    tensors = [tvm.runtime.tensor(given_arrays[p.name]) for p in kernel.params]
    call(*tensors)
    expected = x @ weight.decode().T
    scale = max(float(np.abs(expected).max(initial=0)), 1.0)
    np.testing.assert_allclose(tensors[-1].numpy(), expected, atol=1e-5 * scale)
    return packed


@given(
    st.integers(1, 21),
    st.integers(1, 90),
    st.sampled_from([0.0, 0.03, 0.3, 0.9]),
    st.sampled_from([None, 3, 16, 200]),
    st.sampled_from([("sparse", 1), ("huffman", 1), ("huffman", 2)]),
    st.sampled_from([1, 4, 8]),
    st.sampled_from([None, 3, 8]),
    st.booleans(),
    st.integers(1, 3),
)
@settings(max_examples=20, deadline=None)
def test_any_packing_gives_the_product(
    rows, columns, density, levels, form, lanes, gap_bits, sort, samples
):
    name, refill = form
    packing = Packing(lanes, sort=sort, gap_bits=gap_bits, refill_steps=refill)
    run(weight_of(rows, columns, density, levels, rows + columns), name, packing, samples)


def test_fillers_run_past_the_last_column_into_zeros():
    weight = weight_of(8, 300, 0.02, 5, 0)
    codes = weight.codes.copy()
    codes[0] = np.where(np.arange(300) % 2, 4, 0)  # one row of many
    grown = WeightMatrix.from_codes(codes, weight.codebook)
    packed = run(grown, "sparse", Packing(4), 2)
    assert columns_beyond(packed) > 0
    assert columns_beyond(run(weight_of(4, 64, 1.0, 9, 1), "sparse", Packing(4), 1)) == 0


@pytest.mark.parametrize(("wanted", "width"), [(None, 1), (3, 1), (5, 2), (12, 2), (40, 2)])
def test_entries_are_as_wide_as_the_gaps_that_are_asked_for(wanted, width):
    weight = weight_of(16, 64, 0.3, 16, 2)
    packed = pack_for(weight, "sparse", Packing(4, gap_bits=wanted))
    assert packed.arrays["entries"].itemsize == width


def test_the_unit_of_arm_is_chosen_by_its_features():
    unit = vector_unit(frozenset({"neon"}), 4)
    assert isinstance(unit, Neon)
    assert (unit.gathers, unit.windows, unit.tables) == (False, (), (4, 8, 16))
    assert vector_unit(frozenset({"neon"}), 8) is None
