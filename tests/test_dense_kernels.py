"""Dense kernels of register tiles: convolutions and matmuls of many samples, beside numpy."""

import numpy as np
import pytest
from kernel_runs import normal, run_all

from dcc.codegen.packed import pack
from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.schedules.cpu.dense_conv import dense_conv, fits_groups, tile_channels
from dcc.schedules.cpu.dense_matmul import dense_matmul
from dcc.schedules.cpu.register_tile import even_parts, tile_rows
from dcc.schedules.epilogue import Activation, Epilogue
from dcc.schedules.geometry import ConvGeometry

GEOMETRIES = {
    "3x3": ConvGeometry(1, 5, 13, 13, 6, (3, 3), pads=(1, 1, 1, 1)),
    "one vector of pixels and one more": ConvGeometry(1, 3, 1, 17, 9, (1, 1)),
    "fewer pixels than a vector": ConvGeometry(1, 7, 3, 3, 17, (3, 3), pads=(1, 1, 1, 1)),
    "one pixel": ConvGeometry(2, 5, 3, 3, 7, (3, 3)),
    "rows in unequal blocks": ConvGeometry(1, 3, 33, 31, 8, (3, 3), pads=(1, 1, 1, 1)),
    "stride 2": ConvGeometry(1, 3, 31, 33, 10, (7, 7), (2, 2), (3, 3, 3, 3)),
    "stride 2, pointwise": ConvGeometry(2, 9, 15, 17, 15, (1, 1), (2, 2)),
    "strides differ": ConvGeometry(1, 4, 20, 9, 5, (10, 4), (2, 1), (4, 1, 5, 2)),
    "dilated": ConvGeometry(1, 4, 17, 31, 4, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "dilated and strided": ConvGeometry(1, 2, 17, 15, 3, (3, 2), (2, 3), (2, 1, 1, 2), (3, 2)),
    "depthwise": ConvGeometry(1, 9, 14, 14, 9, (3, 3), pads=(1, 1, 1, 1), groups=9),
    "depthwise, stride 2": ConvGeometry(2, 8, 15, 15, 8, (3, 3), (2, 2), (1, 1, 1, 1), groups=8),
    "two outputs a channel": ConvGeometry(1, 4, 12, 7, 8, (3, 3), pads=(1, 1, 1, 1), groups=4),
    "grouped": ConvGeometry(1, 8, 12, 12, 14, (3, 3), pads=(1, 1, 1, 1), groups=2),
    "wide kernel": ConvGeometry(1, 2, 1, 90, 4, (1, 31), pads=(0, 15, 0, 15)),
    "parallel": ConvGeometry(1, 16, 24, 24, 31, (3, 3), pads=(1, 1, 1, 1)),
    "pointwise, 7x7": ConvGeometry(1, 33, 7, 7, 33, (1, 1)),
}


def expected_conv(x, weight, g):
    """Correlate by kernel offsets, in double precision."""
    top, left, bottom, right = g.pads
    padded = np.pad(x.astype("float64"), ((0, 0), (0, 0), (top, bottom), (left, right)))
    of_group, inputs = g.outputs // g.groups, g.channels // g.groups
    kernel = weight.astype("float64").reshape(g.outputs, inputs, *g.kernel)
    out = np.zeros((g.batch, g.outputs, g.out_height, g.out_width))
    for group in range(g.groups):
        planes = padded[:, group * inputs : (group + 1) * inputs]
        filters = kernel[group * of_group : (group + 1) * of_group]
        for down in range(g.kernel[0]):
            for across in range(g.kernel[1]):
                rows = down * g.dilations[0] + np.arange(g.out_height) * g.strides[0]
                columns = across * g.dilations[1] + np.arange(g.out_width) * g.strides[1]
                window = planes[:, :, rows][:, :, :, columns]
                part = np.einsum("nchw,oc->nohw", window, filters[:, :, down, across])
                out[:, group * of_group : (group + 1) * of_group] += part
    return out


def close(actual, expected, tolerance=1e-5):
    assert np.isfinite(actual).all()
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1)


def conv_kernel(g, dtype, width, lanes=None):
    """A kernel with bias and a lower bound, and its arguments."""
    weight = normal((g.outputs, g.columns), dtype, seed=1)
    packing = Packing(lanes or tile_channels(g, width))
    packed = pack(WeightMatrix(values=weight), "dense", packing)
    assert fits_groups(packed, g)
    epilogue = Epilogue(g.outputs, dtype, bias=True, activation=Activation(-1.0, None))
    accumulator = "float64" if dtype == "float64" else "float32"
    kernel = dense_conv(packed, g, dtype, epilogue, accumulator, vector=width)
    x, bias = normal((g.batch, g.channels, g.height, g.width), dtype), normal(g.outputs, dtype)
    expected = expected_conv(x, weight, g) + bias.astype("float64")[:, None, None]
    return (kernel, [x, *packed.arrays.values(), bias]), np.maximum(expected, -1)


def check_convolutions(g, dtype, cases):
    made = [conv_kernel(g, dtype, *case) for case in cases]
    outputs = [(made[0][1].shape, dtype)]
    results = run_all({f"kernel_{i}": kernel for i, (kernel, _) in enumerate(made)}, outputs)
    for (_, expected), (actual,) in zip(made, results.values(), strict=True):
        close(actual, expected, 4e-3 if dtype == "float16" else 1e-5)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_convolutions(name):
    check_convolutions(GEOMETRIES[name], "float32", [(16,), (8,)])


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_convolutions_of_other_types(dtype):
    check_convolutions(GEOMETRIES["stride 2"], dtype, [(16,), (8,)])


def test_any_lanes_that_fit_the_groups_are_right():
    check_convolutions(GEOMETRIES["3x3"], "float32", [(16, lanes) for lanes in (1, 3, 16)])
    grouped = GEOMETRIES["grouped"]
    check_convolutions(grouped, "float32", [(16, 1), (16, 7)])
    weight = WeightMatrix(values=np.zeros((grouped.outputs, grouped.columns), "float32"))
    assert not fits_groups(pack(weight, "dense", Packing(4)), grouped)


@pytest.mark.parametrize("samples", [8, 15, 17, 33, 64, 97])
@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (7, 17), (31, 33), (385, 40), (512, 96)])
def test_products_of_many_samples(samples, columns, rows):
    weight, x = normal((rows, columns), seed=1), normal((samples, columns))
    kernels = {}
    for name, width, lanes in (("wide", 16, 32), ("narrow", 8, 16), ("odd", 16, 12)):
        packed = pack(WeightMatrix(values=weight), "dense", Packing(lanes))
        epilogue = Epilogue(rows, bias=True, activation=Activation(0.0, 6.0))
        kernel = dense_matmul(packed, samples, "float32", epilogue, "float32", vector=width)
        kernels[name] = (kernel, [x, *packed.arrays.values(), normal(rows)])
    expected = x.astype("float64") @ weight.T.astype("float64") + normal(rows)
    for (actual,) in run_all(kernels, [((samples, rows), "float32")]).values():
        close(actual, np.clip(expected, 0, 6))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float16", 4e-3)])
def test_products_of_other_types(dtype, tolerance):
    weight, x = normal((33, 31), dtype, seed=1), normal((17, 31), dtype)
    packed = pack(WeightMatrix(values=weight), "dense", Packing(32))
    accumulator = "float64" if dtype == "float64" else "float32"
    kernel = dense_matmul(packed, 17, dtype, Epilogue(33, dtype), accumulator, vector=16)
    results = run_all({"main": (kernel, [x, *packed.arrays.values()])}, [((17, 33), dtype)])
    close(results["main"][0], x.astype("float64") @ weight.T.astype("float64"), tolerance)


@pytest.mark.parametrize(("size", "most"), [(1, 14), (64, 14), (15, 14), (14, 14), (33, 8)])
def test_even_parts(size, most):
    parts = even_parts(size, most)
    assert sum(parts) == size
    assert max(parts) <= most
    assert max(parts) - min(parts) <= 1
    assert len(parts) == -(-size // most)


def test_a_tile_fits_the_registers():
    for width, registers in ((16, 32), (8, 16), (4, 16)):
        for vectors in (1, 2, 3, 4):
            assert tile_rows(vectors, width) * vectors + vectors + 1 <= registers
