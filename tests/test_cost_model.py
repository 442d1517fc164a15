"""The cost model: what it counts, and that it prefers what is measured to be faster."""

from dataclasses import replace

import numpy as np
import pytest
from weights import legal_forms, pack_any, random_weight

from dcc.codegen.packed_streams import entropy_code
from dcc.codegen.packing import Packing
from dcc.codegen.vector_units import vector_unit
from dcc.schedules.cost_model import estimate_all
from dcc.schedules.form_sizes import FormSizes
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.kernels import pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.memory_traffic import nanoseconds_of_reading
from dcc.schedules.tunables import default_window
from dcc.targets.registry import get_target
from dcc.targets.target import Caches

WIDE = replace(get_target("x86-64-v4"), cores=2)
NARROW = replace(get_target("x86-64-v3"), cores=2)


def make_weight(rows, columns, density, levels=16):
    return random_weight(np.random.default_rng(0), rows, columns, density, levels)


@pytest.mark.parametrize("levels", [2, 16, 200, None])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 1.0])
def test_bytes_are_near_those_of_the_packed_weight(density, levels):
    weight = make_weight(256, 700, density, levels)
    sizes = FormSizes(weight, 16)
    for form in legal_forms(weight):
        packed = pack_any(weight, form, 16, sort=True)
        packed = entropy_code(packed) if form == "huffman" else packed
        found = sum(array.nbytes for array in packed.arrays.values())
        assert sizes.bytes_of(form) == pytest.approx(found, rel=0.3), form


def test_entries_count_fillers():
    """One weight at the end of 1000 columns: 4 bits of gap beside 4 of code need 62 fillers."""
    codes = np.zeros((1, 1000), np.uint8)
    codes[0, -1] = 1
    weight = make_weight(1, 1000, 0.5)
    weight.codes[:], weight.mask[:] = codes, codes != 0
    sizes = FormSizes(weight, 1)
    assert sizes.entries("dense") == sizes.entries("codebook") == 1000
    assert sizes.entries("sparse") == 1  # with 16 bits, which are fewer bytes
    assert sizes.entries("huffman") == 1


def best(weight, shape, target=WIDE):
    estimates = estimate_all(weight, shape, target)
    return min(estimates, key=lambda form: estimates[form].nanoseconds)


SQUARE = LayerShape("conv2d", geometry=ConvGeometry(1, 64, 28, 28, 64, (3, 3), pads=(1, 1, 1, 1)))
DEPTHWISE = LayerShape(
    "conv2d", geometry=ConvGeometry(1, 96, 28, 28, 96, (3, 3), pads=(1,) * 4, groups=96)
)


@pytest.mark.parametrize(
    ("shape", "rows", "columns", "density", "expected"),
    [
        (SQUARE, 64, 576, 1.0, "dense"),
        (SQUARE, 64, 576, 0.8, "dense"),
        (SQUARE, 64, 576, 0.2, "sparse"),
        (DEPTHWISE, 96, 9, 1.0, "dense"),
        (DEPTHWISE, 96, 9, 0.95, "dense"),
        (LayerShape("matmul", samples=64), 512, 512, 0.1, "sparse"),
        (LayerShape("matmul", samples=64), 512, 512, 0.9, "dense"),
        (LayerShape("matmul", samples=1), 128, 128, 0.9, "codebook"),
        (LayerShape("matmul", samples=1), 4096, 4096, 0.05, "sparse"),
    ],
)
def test_latency(shape, rows, columns, density, expected):
    assert best(make_weight(rows, columns, density), shape) == expected


def test_estimates_grow_with_the_work():
    weight = make_weight(96, 9, 1.0)
    one = estimate_all(weight, DEPTHWISE, WIDE)
    bigger = ConvGeometry(1, 96, 56, 56, 96, (3, 3), pads=(1,) * 4, groups=96)
    four = estimate_all(weight, LayerShape("conv2d", geometry=bigger), WIDE)
    for form, estimate in one.items():
        assert 3 < four[form].nanoseconds / estimate.nanoseconds < 5
        assert four[form].kept_bytes == estimate.kept_bytes


def test_a_lookup_costs_its_rows_only():
    weight = make_weight(5000, 64, 0.3)
    few, many = (estimate_all(weight, LayerShape("take", samples=n), WIDE) for n in (1, 100))
    assert many["sparse"].nanoseconds > 10 * few["sparse"].nanoseconds
    assert few["sparse"].nanoseconds < few["sparse"].touched_bytes


@pytest.mark.parametrize("density", [0.04, 0.1, 0.25])
@pytest.mark.parametrize("form", ["sparse", "huffman"])
@pytest.mark.parametrize("lanes", [8, 16])
def test_windows_are_padded_as_estimated(density, form, lanes):
    weight = make_weight(512, 2048, density)
    window = 2 * lanes
    align = vector_unit(get_target("x86-64-v4" if lanes == 16 else "x86-64-v3").features, lanes)
    packing = Packing(lanes, sort=True, window=window, window_align=align.window_align)
    packed = pack_for(weight, form, packing)
    packed = entropy_code(packed) if form == "huffman" else packed
    found = sum(array.nbytes for array in packed.arrays.values())
    estimated = FormSizes(weight, lanes, {form: window}).bytes_of(form)
    assert estimated == pytest.approx(found, rel=0.25)


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4"])
def test_windows_where_padding_is_less_than_what_gathers_cost(target):
    shape, chosen = LayerShape("matmul", samples=1), get_target(target)
    windows = [
        default_window(shape, "sparse", chosen, make_weight(256, 2048, density))
        for density in (0.005, 0.08)
    ]
    assert windows == [0, 2 * chosen.vector_floats]


def test_dense_rows_are_read_in_narrow_windows_where_a_permutation_is_one_register():
    shape, weight = LayerShape("matmul", samples=1), make_weight(256, 2048, 0.25)
    assert default_window(shape, "sparse", get_target("x86-64-v3"), weight) == 8
    assert default_window(shape, "sparse", get_target("x86-64-v4"), weight) == 32


def test_reading_takes_longer_the_farther_away_the_weight_is():
    target = replace(WIDE, cores=2, caches=Caches(32 << 10, 1 << 20, 32 << 20))
    speeds = [size / nanoseconds_of_reading(size, target) for size in (16 << 20, 256 << 20)]
    assert nanoseconds_of_reading(1 << 20, target) == 0
    assert speeds == [pytest.approx(106), pytest.approx(30)]


@pytest.mark.parametrize("density", [0.09, 0.25])
def test_a_pruned_layer_of_one_sample_is_sparse(density):
    """Measured: 20 times faster than dense from main memory, 2 to 4 times from the last cache."""
    assert best(make_weight(1000, 4096, density), LayerShape("matmul", samples=1)) == "sparse"


@pytest.mark.parametrize(
    ("rows", "columns", "density", "expected"),
    [
        (1000, 4096, 0.25, "dense"),  # measured: 0.21 ms dense, from the last cache; 0.25 sparse
        (4096, 9216, 0.09, "sparse"),  # 5.1 and 0.9
        (4096, 25088, 0.04, "sparse"),
    ],
)
def test_narrow_vectors_need_fewer_non_zeros(rows, columns, density, expected):
    target = replace(NARROW, caches=Caches(32 << 10, 512 << 10, 32 << 20))
    assert best(make_weight(rows, columns, density), LayerShape("matmul"), target) == expected


FIRST = LayerShape("conv2d", geometry=ConvGeometry(1, 1, 28, 28, 20, (5, 5)))
POINTWISE = LayerShape("conv2d", geometry=ConvGeometry(1, 64, 25, 5, 64, (1, 1)).flattened())


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize("target", ["arm-cortex-a53", "arm-cortex-a76", "android-arm64"])
@pytest.mark.parametrize(
    ("shape", "rows", "columns", "density", "expected"),
    [
        (FIRST, 20, 25, 0.14, "sparse"),  # LeNet-5's: estimated 204 us dense, 55 sparse on the A53
        (SQUARE, 64, 576, 0.1, "sparse"),
        (POINTWISE, 64, 64, 0.15, "sparse"),
        (POINTWISE, 64, 64, 1.0, "dense"),
        (DEPTHWISE, 96, 9, 1.0, "dense"),
        (DEPTHWISE, 96, 9, 0.5, "dense"),
    ],
)
def test_convolutions_on_arm_as_estimated(cores, target, shape, rows, columns, density, expected):
    chosen = replace(get_target(target), cores=cores)
    assert best(make_weight(rows, columns, density), shape, chosen) == expected


def test_costs_of_a_core_in_order_are_its_own():
    """Estimated with a dense tile 10 times as slow, a sparse product 11 times, a clock of 1.7."""
    weight = make_weight(64, 576, 0.3)
    in_order, other = (
        estimate_all(weight, SQUARE, get_target(f"arm-cortex-a{number}")) for number in (53, 76)
    )
    for form in ("dense", "sparse"):
        assert 8 < in_order[form].nanoseconds / other[form].nanoseconds < 14
