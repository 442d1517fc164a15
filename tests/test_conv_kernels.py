"""Kernels of convolutions in every storage form against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_runs import HOST, MAIN_WEIGHTS, WEIGHTS, check_layer, make_weight, normal

from dcc.codegen.weight_matrix import WeightMatrix
from dcc.schedules.cpu.block_order import LEAST_TILES
from dcc.schedules.cpu.epilogue import Activation
from dcc.schedules.cpu.geometry import ConvGeometry
from dcc.schedules.cpu.pixel_tiles import PixelTiling, choose_tiles
from dcc.schedules.kernels import pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import default_tunables


def conv_expected(g, weight, x):
    """Direct convolution, one kernel position at a time."""
    dense = weight.decode().astype(np.float64).reshape(g.outputs, -1, *g.kernel)
    top, left, bottom, right = g.pads
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    groups = padded.reshape(g.batch, g.groups, -1, *padded.shape[2:])
    of_group = dense.reshape(g.groups, -1, *dense.shape[1:])
    total = np.zeros((g.batch, g.groups, g.outputs // g.groups, g.out_height, g.out_width))
    for row, column in np.ndindex(*g.kernel):
        down, across = row * g.dilations[0], column * g.dilations[1]
        part = groups[
            ...,
            down : down + (g.out_height - 1) * g.strides[0] + 1 : g.strides[0],
            across : across + (g.out_width - 1) * g.strides[1] + 1 : g.strides[1],
        ]
        total += np.einsum("bgchw,goc->bgohw", part, of_group[..., row, column])
    return total.reshape(g.batch, g.outputs, g.out_height, g.out_width)


GEOMETRIES = {
    "3x3": ConvGeometry(1, 3, 9, 11, 5, (3, 3), pads=(1, 1, 1, 1)),
    "1x1 in place": ConvGeometry(3, 8, 7, 7, 20, (1, 1)),
    "one pixel": ConvGeometry(1, 5, 3, 3, 6, (3, 3)),
    "many pixels": ConvGeometry(1, 2, 20, 33, 3, (5, 1), pads=(2, 0, 2, 0)),
    "groups, dilation, uneven pads": ConvGeometry(
        2, 4, 12, 10, 6, (3, 2), (2, 1), (0, 1, 2, 1), (1, 2), groups=2
    ),
    "groups across slices": ConvGeometry(1, 6, 8, 5, 9, (3, 3), pads=(1, 0, 0, 1), groups=3),
    "depthwise, stride 2": ConvGeometry(1, 6, 8, 8, 6, (3, 3), (2, 2), (1, 1, 1, 1), groups=6),
    "depthwise, 2 outputs each": ConvGeometry(1, 3, 7, 7, 6, (3, 3), groups=3),
    "7x7, stride 3 by 2": ConvGeometry(1, 3, 23, 23, 9, (7, 7), (3, 2), (3, 2, 1, 0)),
    "stride over the kernel": ConvGeometry(1, 4, 9, 9, 8, (1, 1), (2, 3)),
}


def check_conv(g, kind, dtype="float32", tolerance=2e-6, target=HOST, **flags):
    weight = make_weight(kind, g.outputs, g.columns)
    x = normal((g.batch, g.channels, g.height, g.width), dtype)
    expected = [conv_expected(g, weight, x)]
    shape = LayerShape("conv2d", dtype, geometry=g, **flags)
    check_layer(shape, weight, [x], expected, (), tolerance, target=target)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_conv2d(geometry):
    check_conv(GEOMETRIES[geometry], "sparse codes")


@pytest.mark.parametrize("kind", [kind for kind in WEIGHTS if kind != "double"])
def test_conv2d_of_every_weight(kind):
    check_conv(ConvGeometry(1, 8, 6, 10, 6, (3, 3), pads=(1, 1, 1, 1)), kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_conv2d_all(geometry, kind):
    check_conv(GEOMETRIES[geometry], kind, "float64" if kind == "double" else "float32")


def test_conv2d_of_half_precision():
    check_conv(GEOMETRIES["1x1 in place"], "half", "float16", 1e-3)


def test_conv2d_of_more_columns_than_a_tile():
    """Several tiles of entries, the last one not full."""
    g = ConvGeometry(1, 40, 5, 5, 5, (3, 3), pads=(1, 1, 1, 1))
    check_conv(g, "sparse codes")
    check_conv(g, "dense codes")


def test_conv2d_of_many_images_in_blocks():
    """The sums of all images do not fit their buffer, so the weight is read once a block."""
    check_conv(ConvGeometry(5, 2, 70, 90, 5, (1, 3), pads=(0, 1, 0, 1)), "sparse codes")


@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_in_the_order_of_the_blocks(groups):
    """Several tiles and several blocks of columns; some rows have nothing in some blocks."""
    g = ConvGeometry(1, 60, 30, 31, 38, (3, 3), pads=(1, 1, 1, 1), groups=groups)
    generator = np.random.default_rng(groups)
    kept = generator.random((38, g.columns)) < np.linspace(0.001, 0.3, 38)[:, None]
    kept[5] = False
    codes = (generator.integers(1, 5, kept.shape) * kept).astype(np.uint8)
    weight = WeightMatrix.from_codes(codes, np.array([0, -1, 0.5, 2, 3], dtype=np.float32))
    tiles = choose_tiles(g, HOST.vector_floats, PixelTiling().tile_vectors)
    block = PixelTiling().block(tiles, "float32")
    assert tiles.count >= 2 * LEAST_TILES
    assert block < g.channels * 9
    x = normal((1, g.channels, g.height, g.width))
    shape = LayerShape("conv2d", geometry=g)
    for threads in (1, 2):
        expected = [conv_expected(g, weight, x)]
        check_layer(shape, weight, [x], expected, threads=threads)


@pytest.mark.parametrize("outputs", [76, 150])
def test_conv2d_of_rows_in_another_order(outputs):
    """Slices are dealt out by their lengths: the one with lanes to spare is not the last."""
    g = ConvGeometry(1, 6, 9, 7, outputs, (5, 4), (2, 1))
    generator = np.random.default_rng(0)
    kept = generator.random((outputs, g.columns)) < np.linspace(0.02, 0.7, outputs)[:, None]
    codes = (generator.integers(1, 5, kept.shape) * kept).astype(np.uint8)
    codebook = np.array([0, -1, 0.5, 2, 3], dtype=np.float32)
    weight = WeightMatrix.from_codes(codes, codebook)
    shape = LayerShape("conv2d", geometry=g)
    packing = default_tunables(shape, "sparse", HOST, weight).packing
    order = pack_for(weight, "sparse", packing).arrays["order"]
    assert (order[: outputs - outputs % packing.lanes] == outputs).any()
    x = normal((1, g.channels, g.height, g.width))
    check_layer(shape, weight, [x], [conv_expected(g, weight, x)])


def test_conv2d_epilogue_and_threads():
    g = ConvGeometry(2, 8, 12, 12, 9, (3, 3), pads=(1, 1, 1, 1))
    weight = make_weight("sparse codes", g.outputs, g.columns)
    x, scale, bias = normal((2, 8, 12, 12)), normal(9, seed=1), normal(9, seed=2)
    axes = (9, 1, 1)
    expected = conv_expected(g, weight, x) * scale.reshape(axes) + bias.reshape(axes)
    shape = LayerShape("conv2d", geometry=g, scale=True, bias=True, activation=Activation(0, 6))
    for threads in (1, 2):
        check_layer(shape, weight, [x], [np.clip(expected, 0, 6)], [scale, bias], threads=threads)


@pytest.mark.parametrize("kind", MAIN_WEIGHTS)
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (1, 3, 4)])
def test_conv1d(kind, stride, dilation, groups):
    g = ConvGeometry(
        2, 4, 1, 30, 8, (1, 3), (1, stride), (0, 1, 0, 2), (1, dilation), groups=groups
    )
    weight = make_weight(kind, g.outputs, g.columns)
    x = normal((2, 4, 30))
    expected = conv_expected(g, weight, x[:, :, None])[:, :, 0]
    check_layer(LayerShape("conv1d", geometry=g), weight, [x], [expected])
