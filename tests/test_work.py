"""Counts of kernels against hand counts: operations, bytes at each level, loops that data decide."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx as tir
from tvm.script import tirx as T
from weights import random_weight

from dcc.schedules.cpu.vector_rows import slices_in_flight
from dcc.schedules.form_energy import picojoules_of_forms
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.kernels import build_kernel, fold_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import default_tunables
from dcc.schedules.work.distinct import Steps, distinct_elements, steps_of
from dcc.schedules.work.kernel import behind_caches, count_kernel
from dcc.schedules.work.walk import PASSES
from dcc.targets.registry import get_target
from dcc.targets.target import Caches, EnergyTable

WIDE = replace(get_target("x86-64-v4"), cores=2)
NARROW = replace(get_target("x86-64-v3"), cores=2)
CORTEX = get_target("arm-cortex-a76")
CARD = get_target("cuda-sm80")
TINY = replace(NARROW, caches=Caches(1024, 8192, 65536))


def counted(weight, form, shape, target):
    tunables = default_tunables(shape, form, target, weight)
    packed = pack_for(weight, form, tunables.packing)
    kernel = build_kernel(shape, packed, target, tunables)
    symbols = packed
    if form == "huffman":
        kernel, packed = fold_kernel(kernel, packed, target.features)
    data = {
        number: packed.arrays[parameter.name]
        for number, parameter in enumerate(kernel.params)
        if parameter.name in packed.arrays
    }
    return count_kernel(kernel, data, target), packed, symbols


def weight_of(rows, columns, density, levels=16):
    return random_weight(np.random.default_rng(0), rows, columns, density, levels)


@pytest.mark.parametrize("target", [WIDE, NARROW, CORTEX], ids=lambda t: t.name)
@pytest.mark.parametrize(("rows", "columns"), [(64, 100), (16, 7), (128, 33)])
def test_dense_gemv(target, rows, columns):
    """Two operations and four bytes of weight for each element, no more."""
    work, _, _ = counted(
        weight_of(rows, columns, 1.0), "dense", LayerShape("matmul", samples=1), target
    )
    assert work.operations["float_multiply"] == rows * columns
    assert work.operations["float_add"] == rows * columns
    assert work.touched == {0: 4 * columns, 1: 4 * rows * columns, 2: 4 * rows}
    assert work.bytes["dram"] == 4 * (columns + rows * columns + rows)
    assert work.notes == ()


def test_dense_gemv_of_odd_rows_counts_the_padding():
    work, packed, _ = counted(
        weight_of(13, 40, 1.0), "dense", LayerShape("matmul", samples=1), NARROW
    )
    assert packed.lanes == 8
    assert work.operations["float_multiply"] == 16 * 40
    assert work.touched[1] == 4 * 16 * 40  # as it is packed


@pytest.mark.parametrize("target", [WIDE, NARROW, CORTEX], ids=lambda t: t.name)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("form", ["sparse", "huffman"])
def test_sparse_gemv_multiplies_every_entry_once_a_sample(target, samples, form):
    shape = LayerShape("matmul", samples=samples)
    work, packed, symbols = counted(weight_of(100, 333, 0.1), form, shape, target)
    entries = symbols.steps * symbols.lanes
    assert work.operations["float_multiply"] == entries * samples
    arrays = sum(array.nbytes for array in packed.arrays.values())
    activations = 4 * samples * (333 + 100)
    assert work.bytes["dram"] <= arrays + activations
    # All of the packed weight is read; the tables of a decoder perhaps in part.
    assert work.bytes["dram"] >= 0.95 * (arrays + activations) - 4 * 4096
    assert work.notes == ()


@pytest.mark.parametrize("form", ["sparse", "huffman", "codebook"])
@pytest.mark.parametrize("batch", [1, 3])
def test_convolution_of_odd_shape(form, batch):
    geometry = ConvGeometry(batch, 5, 9, 7, 11, (3, 3), pads=(1, 1, 1, 1))
    weight = weight_of(11, 45, 0.3 if form != "codebook" else 1.0)
    work, _, _ = counted(weight, form, LayerShape("conv2d", geometry=geometry), NARROW)
    kept = int(np.count_nonzero(weight.mask)) if weight.mask is not None else 11 * 45
    pixels = batch * 9 * 7
    # Fillers, and pixels that fill a vector or are computed twice.
    assert kept * pixels <= work.operations["float_multiply"] <= 1.6 * kept * pixels
    assert work.operations["float_add"] >= work.operations["float_multiply"]
    assert work.notes == ()


def test_convolution_multiplies_each_entry_with_whole_tiles():
    """Exactly: entries up to the last weight of each lane, times tiles, times their pitch."""
    from dcc.schedules.cpu.pixel_tiles import PixelTiling, choose_tiles

    geometry = ConvGeometry(1, 16, 8, 8, 24, (3, 3), pads=(1, 1, 1, 1))
    weight = weight_of(24, 144, 0.2)
    work, _, symbols = counted(weight, "sparse", LayerShape("conv2d", geometry=geometry), NARROW)
    entries = int(np.count_nonzero(weight.mask))
    if symbols.gap_bits is not None:
        positions = [np.flatnonzero(row) for row in weight.mask]
        gaps = np.concatenate([np.diff(row, prepend=-1) - 1 for row in positions])
        entries += int((gaps >> symbols.gap_bits).sum())
    tiles = choose_tiles(geometry, NARROW.vector_floats, PixelTiling().tile_vectors)
    assert work.operations["float_multiply"] == entries * tiles.count * tiles.pitch


def test_groups_and_blocks_of_columns():
    geometry = ConvGeometry(1, 64, 14, 14, 64, (3, 3), pads=(1, 1, 1, 1), groups=4)
    weight = weight_of(64, 144, 0.3)
    work, _, _ = counted(weight, "sparse", LayerShape("conv2d", geometry=geometry), NARROW)
    kept = int(np.count_nonzero(weight.mask)) * 196
    assert kept <= work.operations["float_multiply"] <= 1.4 * kept
    assert work.notes == ()


@pytest.mark.parametrize("form", ["sparse", "huffman"])
def test_kernels_of_blocks(form):
    shape = LayerShape("matmul", samples=1)
    weight = weight_of(64, 256, 0.1)
    work, _, _ = counted(weight, form, shape, CARD)
    kept = int(np.count_nonzero(weight.mask))
    assert kept <= work.operations["float_multiply"] <= 3 * kept
    assert set(work.bytes) == {"level1", "last_level", "dram"}
    assert work.notes == ()


def test_levels_of_targets():
    assert behind_caches(TINY) == [("level2", 1024), ("last_level", 8192), ("dram", 65536)]
    assert [name for name, _ in behind_caches(get_target("arm-cortex-a53"))] == [
        "last_level",
        "dram",
    ]


def test_a_cache_that_is_too_small_brings_x_again():
    """x of 4 KB: a cache of 1 KB passes it on for every group of slices that run interleaved."""
    shape = LayerShape("matmul", samples=1)
    work, packed, _ = counted(weight_of(64, 1024, 1.0), "dense", shape, TINY)
    passes = 64 // packed.lanes // slices_in_flight(packed, 1, 16)
    weights, x, y = 4 * 64 * 1024, 4 * 1024, 4 * 64
    assert work.bytes["level2"] == pytest.approx(weights + passes * x + y, rel=0.02)
    assert work.bytes["last_level"] == pytest.approx(weights + passes * x + y, rel=0.02)
    assert work.bytes["dram"] == weights + passes * x + y
    # One group's weights and x fit 256 KB, all weights do not: x stays, and comes once.
    larger = replace(TINY, caches=Caches(1024, 8192, 4 * 65536))
    work, _, _ = counted(weight_of(64, 1024, 1.0), "dense", shape, larger)
    assert work.bytes["dram"] == weights + x + y


@T.prim_func(private=True, s_tir=True)
def ragged(
    bases: T.Buffer((5,), "int32"), x: T.Buffer((64,), "float32"), y: T.Buffer((4,), "float32")
):
    for i in range(4):
        for j in range(bases[i + 1] - bases[i]):
            if bases[i] + j < 10:
                y[i] = y[i] + x[bases[i] + j] * T.float32(2)


def test_loops_and_conditions_that_constants_decide():
    bases = np.array([0, 3, 3, 8, 20], np.int32)
    work = count_kernel(ragged, {0: bases}, NARROW)
    assert work.operations["float_multiply"] == 10
    assert work.operations["float_add"] == 10
    assert work.notes == ()


def test_what_nobody_knows_is_noted():
    work = count_kernel(ragged, {}, NARROW)
    assert work.notes == ("a loop whose length only the data decide counts as one pass",)


@T.prim_func(private=True, s_tir=True)
def waiting(x: T.Buffer((64,), "float32"), y: T.Buffer((1,), "float32")):
    at = T.alloc_buffer((1,), "int32", scope="local")
    at[0] = 0
    while x[at[0]] < T.float32(1):
        y[0] = y[0] + x[at[0]]
        at[0] = at[0] + 1


def test_a_while_is_as_long_as_its_attribute_says():
    alone = count_kernel(waiting, {}, NARROW)
    assert any("while" in note for note in alone.notes)

    def mark(loop):
        return tir.AttrStmt(tir.const(0, "int32"), PASSES, tir.const(37, "int64"), loop)

    import tvm_ffi

    marked = waiting.with_body(tvm_ffi.structural_map(waiting.body, (tir.While, mark)))
    work = count_kernel(marked, {}, NARROW)
    assert work.operations["float_add"] == 2 * 37  # the comparison, and the sum
    assert work.notes == ()


@T.prim_func(private=True, s_tir=True)
def blocked(a: T.Buffer((8, 16), "float32"), b: T.Buffer((8,), "float32")):
    for i, k in T.grid(8, 16):
        with T.sblock("sum"):
            vi, vk = T.axis.remap("SR", [i, k])
            with T.init():
                b[vi] = T.float32(0)
            b[vi] = b[vi] + a[vi, vk]


def test_blocks_of_a_schedule():
    work = count_kernel(blocked, {}, NARROW)
    assert work.operations == {"float_add": 128}
    # The sum stays in a register: read and written once a row; its start once more.
    assert work.bytes["level1"] == pytest.approx(4 * (128 + 3 * 8), rel=0.05)
    assert work.bytes["dram"] == 4 * (128 + 8)


def test_energy_of_forms_is_that_of_their_kernels():
    weight = weight_of(256, 512, 0.05)
    shape = LayerShape("matmul", samples=1)
    found = picojoules_of_forms(weight, shape, NARROW)
    work, _, _ = counted(weight, "sparse", shape, NARROW)
    table = EnergyTable()
    arithmetic = sum(count * getattr(table, kind) for kind, count in work.operations.items())
    words = {name: size / 4 for name, size in work.bytes.items()}
    memory = 5 * words["level1"] + 50 * (words["level2"] + words["last_level"])
    assert found["sparse"] == pytest.approx(arithmetic + memory + 640 * words["dram"])
    assert found["huffman"] < found["sparse"] < found["codebook"] < found["dense"]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 7, 8, 20]), st.integers(1, 5)), max_size=4),
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
)
def test_distinct_elements_are_never_too_few(strides, starts):
    """Against all sums of steps, one by one; where strides nest or overlap wholly, exactly."""
    found = []
    for start in starts:
        steps = Steps(start=start)
        for stride, count in strides:
            steps.add(stride, count)
        found.append(steps)
    offsets = {0}
    for stride, count in strides:
        offsets = {each + stride * number for each in offsets for number in range(count)}
    touched = {start + each for start in starts for each in offsets}
    counted = distinct_elements(found)
    assert len(touched) <= counted <= max(touched) - min(touched) + 1


def test_distinct_elements_of_a_sliding_window():
    """Rows and shifts of rows are one axis; columns and offsets of columns another."""
    loops = {1: 13, 2: 3, 3: 16, 4: 3}  # row, shift, column, offset
    row = ("add", ("loop", 1), ("loop", 2))
    column = ("add", ("loop", 3), ("loop", 4))
    index = ("add", ("mul", row, 20), column)
    steps = steps_of((index,), (400,), loops, {})
    assert distinct_elements([steps]) == 15 * 18
    halves = ("add", ("mul", ("div", ("loop", 1), 2), 20), ("ramp", 0, 1, 8))
    assert distinct_elements([steps_of((halves,), (400,), loops, {})]) == 7 * 8
    assert distinct_elements([steps_of((("unknown", 1), 3), (10, 20), loops, {})]) == 10


@pytest.mark.parametrize(
    ("form", "weight_bytes"), [("dense", 4 * 256 * 128), ("codebook", 256 * 64)]
)
def test_tensor_cores_multiply_three_times(form, weight_bytes):
    """Two parts of each value, without the product of the smaller ones; each weight read once."""
    shape = LayerShape("matmul", samples=64)
    work, _, _ = counted(weight_of(256, 128, 1.0), form, shape, CARD)
    assert work.operations["float_multiply"] == 3 * 256 * 128 * 64
    assert work.touched[1] == weight_bytes
    assert work.notes == ()
