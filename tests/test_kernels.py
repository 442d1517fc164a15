"""Kernels of matrix products and lookups in every storage form, and the decoder of the dense form."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_runs import (
    HOST,
    MAIN_WEIGHTS,
    WEIGHTS,
    check_layer,
    make_weight,
    normal,
    run_all,
    stored,
)
from weights import legal_forms

from dcc.codegen.packing import Packing
from dcc.schedules.cpu.expand import expand
from dcc.schedules.epilogue import Activation
from dcc.schedules.kernels import pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.registry import get_target


def matmul_expected(weight, x):
    return x.astype(np.float64) @ weight.decode().astype(np.float64).T


@pytest.mark.parametrize("samples", [1, 3, 33])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_matmul(kind, samples):
    weight = make_weight(kind, 33, 31)
    x = normal((samples, 31), "float64" if kind == "double" else "float32")
    shape = LayerShape("matmul", x.dtype.name, samples)
    check_layer(shape, weight, [x], [matmul_expected(weight, x)])


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("kind", [*MAIN_WEIGHTS, "sparse 8 bit codes"])
def test_matmul_of_narrower_machines(name, kind):
    """Fewer lanes, and instructions of an older processor, which this one has too."""
    target = get_target(name)
    if not set(target.required_features) <= set(HOST.required_features):
        pytest.skip(f"this machine is no {name}")
    for samples in (1, 9):
        weight = make_weight(kind, 33, 70)
        x = normal((samples, 70))
        shape, expected = LayerShape("matmul", samples=samples), [matmul_expected(weight, x)]
        check_layer(shape, weight, [x], expected, target=target)


@pytest.mark.parametrize("rows", [1, 7, 16, 17])
@pytest.mark.parametrize("samples", [2, 8])
def test_matmul_of_odd_sizes(rows, samples):
    weight = make_weight("sparse codes", rows, 9)
    x = normal((samples, 9))
    check_layer(LayerShape("matmul", samples=samples), weight, [x], [matmul_expected(weight, x)])


@pytest.mark.parametrize("samples", [1, 9])
@pytest.mark.parametrize("activation", [Activation(), Activation(0), Activation(-1, 1)], ids=str)
@pytest.mark.parametrize(("scale", "bias"), [(True, False), (False, True), (True, True)])
def test_epilogue(samples, activation, scale, bias):
    weight = make_weight("sparse codes", 17, 40)
    x, factors, offsets = normal((samples, 40)), normal(17, seed=1), normal(17, seed=2)
    expected = matmul_expected(weight, x) * (factors if scale else 1) + (offsets if bias else 0)
    expected = np.clip(expected, activation.minimum, activation.maximum)
    shape = LayerShape("matmul", samples=samples, scale=scale, bias=bias, activation=activation)
    extra = [*([factors] if scale else []), *([offsets] if bias else [])]
    check_layer(shape, weight, [x], [expected], extra)


@pytest.mark.parametrize("samples", [1, 33])
def test_half_precision_data_is_summed_in_single(samples):
    weight = make_weight("half", 20, 300)
    x = normal((samples, 300), "float16")
    shape = LayerShape("matmul", "float16", samples)
    check_layer(shape, weight, [x], [matmul_expected(weight, x)], tolerance=5e-4)


@pytest.mark.parametrize("samples", [1, 16])
def test_any_number_of_threads(samples):
    """Large enough to be spread over threads; rows that the last slice lacks, and in an order."""
    weight = make_weight("sparse codes", 250, 600)
    weight.mask[::16] = True
    weight.codes[weight.mask & (weight.codes == 0)] = 1
    x = normal((samples, 600))
    shape, expected = LayerShape("matmul", samples=samples), [matmul_expected(weight, x)]
    one, two = (check_layer(shape, weight, [x], expected, threads=n) for n in (1, 2))
    for form in one:
        np.testing.assert_allclose(one[form][0], two[form][0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("index_dtype", ["int64", "int32"])
@pytest.mark.parametrize("kind", [*MAIN_WEIGHTS, "nothing", "half"])
def test_take(kind, index_dtype):
    """Every row, from both ends."""
    weight = make_weight(kind, 17, 33)
    dense = weight.decode()
    indices = np.arange(-17, 17).astype(index_dtype)
    shape = LayerShape("take", dense.dtype.name, indices.size, index_dtype=index_dtype)
    results = check_layer(shape, weight, [indices], [dense[indices].astype(np.float64)])
    for form, (rows,) in results.items():
        np.testing.assert_array_equal(rows, dense[indices], err_msg=form)


def test_take_of_an_index_out_of_range_reads_no_other_memory():
    weight = make_weight("sparse codes", 5, 8)
    shape = LayerShape("take", samples=2)
    dense = weight.decode()
    check_layer(shape, weight, [np.array([99, -99])], [dense[[4, 0]].astype(np.float64)])


@pytest.mark.parametrize("lanes", [1, 16])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_expand(kind, lanes):
    """Row by row with any axes, and in slices of lanes; bit for bit."""
    weight = make_weight(kind, 18, 15)
    dense = weight.decode()
    for form in legal_forms(weight):
        packed = pack_for(weight, form, Packing(lanes, sort=True))
        layouts = {
            "rows": (((18, 5, 3), {}), dense.reshape(18, 5, 3)),
            "sliced": (((5, 15, 4), {"lanes": 4}), sliced(dense, 4)),
        }
        for layout, ((shape, options), expected) in layouts.items():
            kernel, arrays = stored(expand(packed, shape, **options), packed)
            kernels = {"expand": (kernel, list(arrays.values()))}
            (found,) = run_all(kernels, [(shape, dense.dtype)])["expand"]
            found = np.where(np.isnan(expected), expected, found)
            np.testing.assert_array_equal(found, expected, err_msg=f"{form}, {layout}")


def sliced(dense, lanes):
    """(slices, columns, lanes); NaN in rows that do not exist, which nothing writes."""
    rows, columns = dense.shape
    padded = np.full((-(-rows // lanes) * lanes, columns), np.nan, dense.dtype)
    padded[:rows] = dense
    return padded.reshape(-1, lanes, columns).transpose(0, 2, 1)
