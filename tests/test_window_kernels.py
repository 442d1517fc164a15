"""Rows kernels over windows of x: every size that is odd somewhere, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_runs import HOST, check_layer, normal, run_all, stored
from weights import random_weight

from dcc.codegen.packing import Packing
from dcc.codegen.vector_units import vector_unit
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.errors import CompileError
from dcc.schedules.cpu.expand import expand
from dcc.schedules.kernels import build_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import Tunables, default_tunables
from dcc.targets.registry import get_target

UNIT = vector_unit(HOST.features, HOST.vector_floats)
pytestmark = pytest.mark.skipif(
    UNIT is None or not UNIT.windows, reason="this machine has no vector unit with windows"
)


def expected_of(weight, x):
    return x.astype(np.float64) @ weight.decode().astype(np.float64).T


def check_matmul(weight, samples, target=HOST, window=True):
    shape = LayerShape("matmul", samples=samples)
    found = default_tunables(shape, "sparse", target, weight).packing.window
    assert bool(found) == window
    x = normal((samples, weight.columns))
    check_layer(shape, weight, [x], [expected_of(weight, x)], target=target)


@pytest.mark.parametrize("rows", [1, 7, 15, 17, 31, 33])
@pytest.mark.parametrize("columns", [31, 32, 33, 70])
def test_odd_sizes(rows, columns):
    generator = np.random.default_rng(rows * 100 + columns)
    check_matmul(random_weight(generator, rows, columns, 0.3, 5), 1)


@pytest.mark.parametrize("samples", [1, 3, 7])
@pytest.mark.parametrize("levels", [2, 8, 9, 16, 17, 32, 33, 256, None])
def test_codebooks(levels, samples):
    weight = random_weight(np.random.default_rng(5), 33, 100, 0.3, levels)
    check_matmul(weight, samples)


@pytest.mark.parametrize("levels", [4, None])
def test_empty_and_full_rows(levels):
    """An empty row, an empty slice, full rows, nothing at all."""
    weight = random_weight(np.random.default_rng(6), 50, 64, 0.3, levels)
    dense = weight.decode().copy()
    dense[3] = dense[16:32] = 0
    dense[40] = 2
    for scale in (1, 0):
        array = (dense * np.float32(scale)).astype(np.float32)
        if levels is None:
            check_matmul(WeightMatrix(values=array, mask=array != 0), 1, window=scale == 1)
            continue
        book, codes = np.unique(array, return_inverse=True)
        codes = codes.reshape(array.shape).astype(np.uint8)
        check_matmul(WeightMatrix.from_codes(codes, book), 1, window=scale == 1)


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("levels", [5, 13, 40, None])
def test_narrower_machines(name, levels):
    target = get_target(name)
    if not set(target.required_features) <= set(HOST.required_features):
        pytest.skip(f"this machine is no {name}")
    weight = random_weight(np.random.default_rng(7), 33, 90, 0.3, levels)
    for samples in (1, 5):
        check_matmul(weight, samples, target=target)


@pytest.mark.parametrize("target", ["host", "x86-64-v3"])
@pytest.mark.parametrize("levels", [2, 5, 16, 40])
@pytest.mark.parametrize("form", ["sparse", "huffman"])
def test_every_window(form, target, levels):
    """Windows of every width, at any multiple, with any number of slices in flight.

    Few levels make entries of a byte, whose codes have the next entry right above them.
    """
    target = get_target(target)
    if not set(target.required_features) <= set(HOST.required_features):
        pytest.skip("this machine lacks the instructions")
    weight = random_weight(np.random.default_rng(8), 70, 200, 0.2, levels)
    x = normal((2, 200))
    expected = expected_of(weight, x)
    kernels = {}
    lanes = target.vector_floats
    for window in vector_unit(target.features, lanes).windows:
        for align, in_flight in ((1, 1), (8, 3), (window, 2)):
            packing = Packing(lanes, sort=True, window=window, window_align=align)
            packed = pack_for(weight, form, packing)
            assert packed.window == window
            kernel = build_kernel(
                LayerShape("matmul", samples=2), packed, target, Tunables(packing, in_flight)
            )
            kernel, arrays = stored(kernel, packed, target)
            kernels[f"main_{window}_{align}"] = (kernel, [x, *arrays.values()])
    for name, (found,) in run_all(kernels, [((2, 70), "float32")], target=target).items():
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=name)


def test_columns_past_65535():
    mask = np.random.default_rng(9).random((17, 70_000)) < 0.05
    weight = WeightMatrix.from_codes(
        mask.astype(np.uint8) * 2, np.array([0, 7, -1], dtype=np.float32)
    )
    assert pack_for(weight, "sparse", Packing(16, window=32)).arrays["windows"].dtype == np.int32
    check_matmul(weight, 1)


def test_results_do_not_depend_on_the_number_of_threads():
    """Rows of very different length, so that they are put in another order and dealt out."""
    generator = np.random.default_rng(10)
    mask = generator.random((300, 600)) < np.linspace(0.01, 0.6, 300)[:, None]
    codes = np.where(mask, generator.integers(1, 9, mask.shape), 0).astype(np.uint8)
    weight = WeightMatrix.from_codes(codes, np.arange(9, dtype=np.float32) - np.float32(0.0))
    x = normal((1, 600))
    shape, expected = LayerShape("matmul"), [expected_of(weight, x)]
    one, two = (check_layer(shape, weight, [x], expected, threads=n) for n in (1, 2))
    for form in one:
        np.testing.assert_array_equal(one[form][0], two[form][0])


def test_where_gathers_stay():
    """Few non-zeros, other types, many samples, kernels that read one lane at a time."""
    generator = np.random.default_rng(11)
    single = random_weight(generator, 64, 200, 0.3, 5)
    rare = random_weight(generator, 64, 2000, 0.002, 5)
    double = random_weight(generator, 64, 200, 0.3, 5, np.float64)
    one, many = LayerShape("matmul"), LayerShape("matmul", samples=64)
    cases = [(one, rare), (one, double), (many, single), (LayerShape("take"), single)]
    for shape, weight in cases:
        assert default_tunables(shape, "sparse", HOST, weight).packing.window == 0
    packed = pack_for(single, "sparse", Packing(HOST.vector_floats, window=16))
    with pytest.raises(CompileError, match=r"packed in windows of 16 columns.*window=0"):
        expand(packed, (64, 200))


@pytest.mark.parametrize("target", ["host", "x86-64-v3"])
@pytest.mark.parametrize("levels", [1, 2, 4, 7, 17, 64, 256])
def test_grid_of_codes(levels, target):
    """Every width of a code, columns that fill their last word and that do not."""
    target = get_target(target)
    if not set(target.required_features) <= set(HOST.required_features):
        pytest.skip("this machine lacks the instructions")
    for columns, samples in ((31, 1), (32, 3), (67, 1)):
        weight = random_weight(np.random.default_rng(levels), 19, columns, 1.0, levels)
        shape, x = LayerShape("matmul", samples=samples), normal((samples, columns))
        check_layer(shape, weight, [x], [expected_of(weight, x)], target=target)
