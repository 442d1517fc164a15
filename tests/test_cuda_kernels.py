"""Kernels of thread blocks in every storage form against numpy: by PoCL, and on a card."""

from __future__ import annotations

import numpy as np
import pocl
import pytest
from kernel_runs import MAIN_WEIGHTS, WEIGHTS, check_layer, make_weight, normal, run_all, stored
from test_conv_kernels import GEOMETRIES, check_conv, conv_expected
from test_kernels import matmul_expected
from weights import legal_forms

from dcc.codegen.packing import Packing
from dcc.passes.operators.recurrent_reference import gru_reference, lstm_reference
from dcc.schedules.cuda.tiles import in_tiles
from dcc.schedules.epilogue import Activation
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.kernels import build_decoder, build_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.recurrence import Recurrence
from dcc.schedules.tunable_values import with_values
from dcc.schedules.tunables import default_tunables
from dcc.targets.registry import get_target

pytestmark = pytest.mark.emulated

# (rows, segments, phases, words of a load): the blocks of the default schedule, and odd ones.
SPLITS = [
    (32, 16, 1, 1),
    (32, 32, 1, 1),
    (16, 32, 1, 2),
    (16, 64, 3, 1),
    (8, 64, 1, 4),
    (32, 1, 2, 1),
    (16, 2, 1, 2),
]


def some(values, quick):
    """All ``values``; those that are not ``quick`` are part of the full matrix."""
    slow = pytest.mark.slow
    return [pytest.param(v, marks=[] if v in quick else [slow], id=str(v)) for v in values]


@pytest.fixture(scope="module", params=["pocl", pytest.param("card", marks=pytest.mark.gpu)])
def target(request):
    if request.param == "card":
        return get_target("cuda")
    pocl.device()
    return pocl.opencl_target()


@pytest.mark.parametrize("sizes", some([(33, 70, 1), (1, 9, 3), (70, 33, 7)], [(33, 70, 1)]))
@pytest.mark.parametrize("kind", some(WEIGHTS, MAIN_WEIGHTS))
def test_matmul(kind, sizes, target):
    rows, columns, samples = sizes
    weight = make_weight(kind, rows, columns)
    x = normal((samples, columns), "float64" if kind == "double" else "float32")
    shape = LayerShape("matmul", x.dtype.name, samples)
    check_layer(shape, weight, [x], [matmul_expected(weight, x)], target=target)


# Rows, columns and samples: whole tiles, odd ones, columns that are no whole vectors or parts.
TILES = [(130, 516, 64), (33, 70, 2), (70, 33, 20), (257, 96, 65), (5, 1, 9), (128, 64, 128)]
TILE_VARIANTS = {
    "tensor cores": {"tensor_cores": 1},
    "one block": {"tensor_cores": 1, "split": 1, "depth": 32, "warps": 2, "row_fragments": 1},
    "threads": {"tensor_cores": 0},
    "one block of threads": {"tensor_cores": 0, "split": 1, "depth": 8, "thread_rows": 4},
}


@pytest.mark.parametrize("variant", TILE_VARIANTS)
@pytest.mark.parametrize("sizes", some(TILES, [(33, 70, 2), (70, 33, 20)]))
@pytest.mark.parametrize(
    "kind",
    some(
        ["sparse codes", "sparse 8 bit codes", "dense codes", "dense values", "half"],
        ["sparse codes"],
    ),
)
def test_dense_tiles(kind, sizes, variant, target):
    """Products of some samples in tiles, by tensor cores and by threads."""
    rows, columns, samples = sizes
    dtype, tolerance = ("float16", 1e-3) if kind == "half" else ("float32", 1e-6)
    weight, x = make_weight(kind, rows, columns), normal((samples, columns), dtype)
    shape, kernels = LayerShape("matmul", dtype, samples=samples), {}
    for form in legal_forms(weight):
        if not in_tiles(shape, form):
            continue
        tunables = default_tunables(shape, form, target, weight)
        packed = pack_for(weight, form, tunables.packing)
        kernel = build_kernel(shape, packed, target, with_values(tunables, TILE_VARIANTS[variant]))
        kernels[form] = kernel, [x, *packed.arrays.values()]
    expected = matmul_expected(weight, x)
    for form, (got,) in run_all(kernels, [(expected.shape, dtype)], target=target).items():
        scale = np.abs(expected).max(initial=1)
        assert np.abs(got - expected).max(initial=0) / scale <= tolerance, form


@pytest.mark.parametrize("kind", some(MAIN_WEIGHTS, ["sparse codes"]))
def test_matmul_of_many_samples(kind, target):
    weight, x = make_weight(kind, 33, 31), normal((130, 31))
    shape = LayerShape("matmul", samples=130)
    check_layer(shape, weight, [x], [matmul_expected(weight, x)], target=target)


@pytest.mark.parametrize("split", some(SPLITS, [(16, 32, 1, 2), (16, 64, 3, 1)]))
@pytest.mark.parametrize(
    "kind", some(["sparse codes", "sparse 8 bit codes", "dense codes"], ["sparse codes"])
)
def test_matmul_of_every_split(kind, split, target):
    """Rows cut into segments and phases, in every form that is split."""
    rows, segments, phases, words = split
    weight, x = make_weight(kind, 37, 515), normal((1, 515))
    shape, kernels = LayerShape("matmul"), {}
    for form in legal_forms(weight):
        if form == "dense":
            continue
        packing = Packing(
            32,
            sort=form != "codebook",
            segments=segments,
            block_rows=rows,
            phases=phases,
            load_words=words if form == "sparse" else 1,
        )
        packed = pack_for(weight, form, packing)
        kernel, arrays = stored(build_kernel(shape, packed, target), packed, target)
        kernels[form] = kernel, [x, *arrays.values()]
    expected = matmul_expected(weight, x)
    for form, (got,) in run_all(kernels, [(expected.shape, "float32")], target=target).items():
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4, err_msg=form)


def test_rows_of_very_different_lengths(target):
    """One full row among empty ones: padding runs far past the last column."""
    weight = make_weight("sparse codes", 40, 9000)
    mask = weight.mask.copy()
    mask[1:] &= np.arange(9000) % 3000 == 2999
    codes = np.where(mask, np.maximum(weight.codes, 1), 0).astype(np.uint8)
    weight = type(weight)(codes=codes, codebook=weight.codebook, mask=mask)
    x = normal((1, 9000))
    expected = [matmul_expected(weight, x)]
    check_layer(LayerShape("matmul"), weight, [x], expected, target=target)


@pytest.mark.parametrize("samples", some([1, 20], [1]))
def test_epilogue(samples, target):
    weight, x = make_weight("sparse codes", 33, 31), normal((samples, 31))
    scale, bias = normal(33, seed=1), normal(33, seed=2)
    expected = np.clip(matmul_expected(weight, x) * scale + bias, 0, 1.5)
    shape = LayerShape(
        "matmul", samples=samples, scale=True, bias=True, activation=Activation(0, 1.5)
    )
    check_layer(shape, weight, [x], [expected], (scale, bias), target=target)


@pytest.mark.parametrize("geometry", some(GEOMETRIES, ["groups, dilation, uneven pads"]))
def test_conv2d(geometry, target):
    check_conv(GEOMETRIES[geometry], "sparse codes", target=target)


@pytest.mark.parametrize("kind", some(["sparse values", "dense codes", "half", "nothing"], ()))
def test_conv2d_of_other_weights(kind, target):
    geometry = ConvGeometry(1, 8, 6, 10, 6, (3, 3), pads=(1, 1, 1, 1))
    dtype, tolerance = ("float16", 1e-3) if kind == "half" else ("float32", 2e-6)
    check_conv(geometry, kind, dtype, tolerance, target=target)


def test_conv1d(target):
    geometry = ConvGeometry(2, 4, 1, 20, 6, (1, 3), (1, 2), (0, 1, 0, 1), groups=2)
    weight, x = make_weight("sparse codes", 6, geometry.columns), normal((2, 4, 20))
    expected = conv_expected(geometry, weight, x[:, :, None])[:, :, 0]
    check_layer(LayerShape("conv1d", geometry=geometry), weight, [x], [expected], target=target)


@pytest.mark.parametrize(
    "kind", some(["sparse codes", "sparse values", "dense values"], ["sparse codes"])
)
def test_take(kind, target):
    weight, indices = make_weight(kind, 19, 33), np.array([0, -1, 18, 7, 7, -19])
    expected = [weight.decode()[indices]]
    shape = LayerShape("take", samples=indices.size, index_dtype="int64")
    check_layer(shape, weight, [indices], expected, target=target)


@pytest.mark.parametrize(
    "sizes", some([(1, 20, False, True), (3, 7, True, False)], [(3, 7, True, False)])
)
def test_recurrences(sizes, target):
    batch, hidden, flag, reverse = sizes
    weight = make_weight("sparse codes", 4 * hidden, hidden)
    data = [normal((5, batch, 4 * hidden)), *(normal((batch, hidden), seed=s) for s in (1, 2))]
    expected = lstm_reference(
        data[0], weight.decode(), *data[1:], reverse=reverse, input_forget=flag
    )
    sizes = Recurrence(5, batch, hidden, reverse)
    shape = LayerShape("lstm", recurrence=sizes, flags={"input_forget": flag})
    check_layer(shape, weight, data, expected, tolerance=1e-5, target=target)

    weight = make_weight("sparse codes", 3 * hidden, hidden)
    data = [normal((5, batch, 3 * hidden)), normal(3 * hidden, seed=1), normal((batch, hidden))]
    expected = gru_reference(
        data[0], weight.decode(), *data[1:], reverse=reverse, linear_before_reset=flag
    )
    shape = LayerShape("gru", recurrence=sizes, flags={"linear_before_reset": flag})
    check_layer(shape, weight, data, expected, tolerance=1e-5, target=target)


@pytest.mark.parametrize(
    "kind", some(["sparse codes", "sparse values", "dense codes", "nothing"], ["sparse codes"])
)
def test_decoder_of_the_dense_form(kind, target):
    weight, kernels = make_weight(kind, 35, 13), {}
    for form in legal_forms(weight):
        if form == "dense":
            continue
        packed = pack_for(weight, form, Packing(1))
        kernels[form] = stored(build_decoder(packed, (35, 13), 1, target), packed, target)
    kernels = {form: (kernel, list(arrays.values())) for form, (kernel, arrays) in kernels.items()}
    for form, (got,) in run_all(kernels, [((35, 13), "float32")], target=target).items():
        np.testing.assert_array_equal(got, weight.decode(), err_msg=form)
