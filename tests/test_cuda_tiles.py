"""Tiles of products: which kernel, in which sizes, and how values are split for tensor cores."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.schedules.cuda import tensor_core
from dcc.schedules.cuda.gemm_tile import GemmTile
from dcc.schedules.cuda.sizes import BlockSizes
from dcc.schedules.cuda.tensor_tile import LOST_BITS, TensorTile, parts_of
from dcc.schedules.cuda.tiles import default_tile, in_tiles
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.weight_reader import argument
from dcc.targets.registry import get_target

GPU = get_target("cuda-sm90").gpu
SOME = np.float32([0.1, 0.2])


def tile_of(samples, rows=4096, columns=9216, values=SOME, gpu=GPU, dtype="float32", cores=None):
    shape = LayerShape("matmul", dtype, samples=samples)
    return default_tile(shape, rows, columns, parts_of(values), gpu, cores)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ([0.1], 2),
        ([0.5, -1.25, 0.0], 1),
        ([1 + 2.0**-10], 1),
        ([1 + 2.0**-11], 2),
        ([], 1),
        ([3e38], None),
        ([np.inf], None),
        ([np.nan], None),
    ],
)
def test_parts(values, parts):
    assert parts_of(np.float32(values)) == parts


def test_halves_need_one_part():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    assert parts_of(every[np.isfinite(every)]) == 1


@functools.cache
def rounding():
    """The kernel's rounding of four values, for the processor."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        x, y = argument("x", (4,), "float32"), argument("y", (4,), "float32")
        with T.serial(0, 4) as place:
            T.buffer_store(y, tensor_core.nearest(x[place]), [place])
    return tvm.compile(builder.get(), "llvm")


def nearest(values):
    result = tvm.runtime.empty((4,), "float32")
    rounding()(tvm.runtime.tensor(values), result)
    return result.numpy()


finite = st.floats(2.0**-60, 2.0**60, width=32)


@given(arrays(np.float32, 4, elements=finite), arrays(np.float32, 4, elements=finite))
def test_three_products_are_nearly_single_precision(a, b):
    """What is left out of a product of two values in two parts each is below 2^-20 of it."""
    large_a, large_b = nearest(a), nearest(b)
    assert parts_of(large_a) == parts_of(large_b) == 1
    small_a, small_b = a - large_a, b - large_b
    # Tensor cores cut the small parts to TF32.
    cut = np.uint32(0xFFFFFFFF ^ ((1 << LOST_BITS) - 1))
    small_a, small_b = (
        (each.view(np.uint32) & cut).view(np.float32) for each in (small_a, small_b)
    )
    wide = [each.astype(np.float64) for each in (large_a, small_a, large_b, small_b)]
    found = wide[0] * wide[2] + wide[0] * wide[3] + wide[1] * wide[2]
    exact = a.astype(np.float64) * b
    assert np.all(np.abs(found - exact) <= 2.0**-20 * np.abs(exact))


@pytest.mark.parametrize("samples", [2, 8, 9, 64, 65, 1000])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (33, 70), (4096, 9216), (8791, 600)])
def test_default_tiles_cover_the_product(samples, rows, columns):
    for cores in (True, False):
        tile = tile_of(samples, rows, columns, cores=cores)
        assert isinstance(tile, TensorTile if cores else GemmTile)
        assert tile.sample_tiles * tile.block_samples >= samples
        assert tile.row_tiles * tile.block_rows >= rows
        assert tile.split * tile.steps * tile.depth >= columns
        assert (tile.split - 1) * tile.steps * tile.depth < columns
        assert tile.shared_bytes <= GPU.shared_bytes
        assert tile.threads <= GPU.block_threads


def test_values_that_are_exact_take_fewer_products():
    exact = np.float32([0.5, 0.25])
    assert tile_of(64).products == 3
    assert tile_of(64, values=exact).products == 2
    assert tile_of(64, values=exact.astype(np.float16), dtype="float16").products == 1


@pytest.mark.parametrize("values", [[np.inf, 1], [np.nan], [3.2e38]])
def test_values_that_cannot_be_split_stay_with_the_threads(values):
    assert isinstance(tile_of(64, values=np.float32(values)), GemmTile)


def test_cards_whose_tensor_cores_are_absent_or_slower():
    for cores in (0, 64):
        gpu = replace(GPU, tensor_multiplications=cores)
        assert isinstance(tile_of(64, gpu=gpu), GemmTile)


def test_sizes_change_what_the_tile_has():
    tile = BlockSizes(warps=2, depth=64, split=3, thread_rows=4).tile(tile_of(64))
    assert (tile.warps, tile.depth, tile.split, tile.groups) == (2, 64, 3, 2)
    tile = BlockSizes(warps=2, thread_rows=4).tile(tile_of(64, cores=False))
    assert (tile.thread_rows, tile.block_rows) == (4, 64)


def test_which_layers_are_computed_in_tiles():
    for form, fewest in (("dense", 2), ("codebook", 8)):
        assert not in_tiles(LayerShape("matmul", samples=fewest - 1), form)
        assert in_tiles(LayerShape("matmul", samples=fewest), form)
    assert not in_tiles(LayerShape("matmul", "float64", samples=64), "dense")
    assert not in_tiles(LayerShape("matmul", samples=64), "sparse")
