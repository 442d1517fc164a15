"""Layers on VTA's simulator against numpy, bit for bit; every stream passes the verifier."""

import subprocess

import numpy as np
import pytest
from vta_runs import conv_case, pool_case, sum_case

from dcc.errors import DriverError, StreamError
from dcc.schedules.vta.layers import ConvLayer, PoolLayer, Requantise, Residual, SumLayer
from dcc.schedules.vta.pool import pool_tiling
from dcc.schedules.vta.tiling import Tiling, candidates, default_tiling
from dcc.targets.toolchain import find_compiler
from dcc.targets.vta.device import VTA
from dcc.targets.vta.library import LibraryDriver
from dcc.targets.vta.simulator import SimulatedDriver

RANDOM_LAYERS = 1000


def random_layer(seed):
    """Channels that are no multiples of 16, strides 1 to 3, pads 0 to 3, kernels 1 to 7."""
    random = np.random.default_rng(seed)
    kernel = tuple(int(k) for k in random.integers(1, 8, 2))
    pads = tuple(int(p) for p in random.integers(0, 4, 4))
    sizes = [
        int(random.integers(max(1, k - pads[axis] - pads[axis + 2]), 24))
        for axis, k in enumerate(kernel)
    ]
    return ConvLayer(
        int(random.integers(1, 3)),
        int(random.integers(1, 70)),
        sizes[0],
        sizes[1],
        int(random.integers(1, 70)),
        kernel,
        tuple(int(s) for s in random.integers(1, 4, 2)),
        pads,
        bias=(bias := int(random.integers(3))) > 0,
        bias_blocks=bias == 2,
        requantise=Requantise(int(random.integers(-2, 18)), int(random.integers(-128, 1)), 127),
        residual=Residual(int(random.integers(-3, 8)), int(random.integers(0, 7)))
        if random.integers(3) == 0
        else None,
    )


def check_random_layer(seed):
    layer = random_layer(seed)
    options = list(candidates(layer, VTA))
    assert options, layer
    # The default on even seeds; any other tiling that fits on odd ones.
    tiling = None if seed % 2 == 0 else options[seed % len(options)]
    share = (1.0, 0.5, 0.1)[seed % 3]
    result, expected, _ = conv_case(layer, seed, tiling, share, sparse=share < 1)
    np.testing.assert_array_equal(result, expected, err_msg=f"{layer} {tiling}")


@pytest.mark.parametrize("seed", range(20))
def test_random_layers(seed):
    check_random_layer(seed)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(20))
def test_a_thousand_random_layers(group):
    each = RANDOM_LAYERS // 20
    for seed in range(100 + group * each, 100 + (group + 1) * each):
        check_random_layer(seed)


@pytest.mark.parametrize(
    "layer",
    [
        ConvLayer(1, 500, 1, 1, 10, bias=True, requantise=Requantise(9)),
        ConvLayer(1, 40, 1, 9, 33, requantise=Requantise(8)),
        ConvLayer(1, 3, 9, 7, 5, (1, 1), pads=(3, 3, 3, 3), bias=True),
        ConvLayer(1, 20, 12, 12, 20, (3, 3), dilations=(2, 3), pads=(2, 3, 2, 3)),
        ConvLayer(1, 16, 5, 5, 16, (5, 5), requantise=Requantise(30, 0, 100)),
        ConvLayer(1, 3, 1, 70_000, 5, (1, 3), (1, 2), (0, 1, 0, 1), requantise=Requantise(8)),
    ],
    ids=["one pixel", "matmul", "only padding at the edge", "dilated", "long shift", "wide"],
)
def test_special_layers(layer):
    result, expected, _ = conv_case(layer)
    np.testing.assert_array_equal(result, expected)


def test_rows_too_long_for_the_stride_of_a_load():
    assert default_tiling(ConvLayer(1, 3, 2, 70_000, 5, (2, 3)), VTA) is None
    assert pool_tiling(PoolLayer(1, 3, 2, 70_000, (2, 2), (1, 1)), VTA) is None


def test_pooling_and_sums():
    layers = [
        PoolLayer(1, 40, 13, 11, (3, 3), (2, 2), (1, 1, 1, 1)),
        PoolLayer(2, 16, 9, 9, (2, 2), (2, 2)),
        PoolLayer(1, 17, 6, 5, (3, 2), (1, 3), (2, 1, 0, 1)),
        PoolLayer(1, 64, 55, 55, (3, 3), (2, 2)),
    ]
    for seed, layer in enumerate(layers):
        result, expected, _ = pool_case(layer, seed)
        np.testing.assert_array_equal(result, expected, err_msg=str(layer))
    for lifts in ((0,), (3, 2), (6, 0)):
        result, expected, _ = sum_case(SumLayer(1111, lifts, Requantise(4, -50, 127)))
        np.testing.assert_array_equal(result, expected)


SMALL = ConvLayer(1, 40, 12, 9, 40, (3, 3), (1, 1), (1, 1, 1, 1), bias=True)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_the_queues_gives_the_same(seed):
    tiling = Tiling(4, 9, 1, 1, ("outputs", "pixels")[seed % 2], 2)
    driver = SimulatedDriver(interleave=seed)
    result, expected, _ = conv_case(SMALL, tiling=tiling, driver=driver)
    np.testing.assert_array_equal(result, expected)


def test_the_simulator_forgets_old_streams(monkeypatch):
    monkeypatch.setattr("dcc.targets.vta.simulator._KEPT_INSTRUCTIONS", 1)
    driver = SimulatedDriver()
    for rows in (4, 2, 4):
        tiling = Tiling(rows, 9, 1, 1, "outputs", 2)
        result, expected, _ = conv_case(SMALL, tiling=tiling, driver=driver)
        np.testing.assert_array_equal(result, expected)
        assert len(driver._known) == 1


class _LosesTokens(SimulatedDriver):
    """Takes the waits of compute for stores out of every stream, and of stores for nothing."""

    def words(self, address, count):
        words = super().words(address, count)
        changed = words.copy()
        for number, (low, _) in enumerate(words.tolist()):
            if low & 7 == 1 and low >> 5 & 1 and number < count - 3:
                changed[number, 0] = low & ~(1 << 5)
            if low & 7 in (2, 4) and low >> 4 & 1:
                changed[number, 0] = low & ~(1 << 4)
        return changed


def test_a_missing_token_shows():
    tiling = Tiling(2, 9, 1, 1, "outputs", 2)
    with pytest.raises(StreamError, match="a token is missing"):
        conv_case(SMALL, tiling=tiling, driver=_LosesTokens())
    results = set()
    for seed in range(6):
        driver = _LosesTokens(check=False, interleave=seed)
        results.add(conv_case(SMALL, tiling=tiling, driver=driver)[0].tobytes())
    assert len(results) > 1


def test_two_threads_are_faster_than_one():
    layer = ConvLayer(1, 64, 28, 28, 64, (3, 3), (1, 1), (1, 1, 1, 1), bias=True)
    tiling = default_tiling(layer, VTA)
    cycles = []
    for threads in (1, 2):
        each = Tiling(
            tiling.rows, tiling.columns, tiling.outputs, tiling.inputs, "outputs", threads
        )
        cycles.append(conv_case(layer, tiling=each)[2].last.cycles)
    assert cycles[1] < cycles[0]
    # No fewer than the multiplications and what the accumulators need besides.
    assert cycles[1] > layer.micro_ops


def test_blocks_of_zeros_take_no_micro_ops_and_no_bytes():
    layer = ConvLayer(1, 128, 14, 14, 128, (3, 3), (1, 1), (1, 1, 1, 1), bias=True)
    tiling = default_tiling(layer, VTA)
    dense = conv_case(layer, tiling=tiling)[2].last
    half = conv_case(layer, tiling=tiling, kept_share=0.5, sparse=True)[2].last
    assert 0.45 < half.micro_ops / dense.micro_ops < 0.55
    assert half.cycles < 1.15 * half.micro_ops / dense.micro_ops * dense.cycles


@pytest.mark.parametrize("seed", range(4))
def test_streams_run_behind_the_c_functions(vta_driver_library, seed):
    layer = random_layer(seed)
    result, expected, _ = conv_case(layer, seed, driver=LibraryDriver(vta_driver_library))
    np.testing.assert_array_equal(result, expected)


def test_a_library_that_lacks_functions(tmp_path):
    path = tmp_path / "half.so"
    source = tmp_path / "half.cc"
    source.write_text('extern "C" void* VTADeviceAlloc() { return 0; }\n')
    subprocess.run([find_compiler(), "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    with pytest.raises(DriverError, match="lacks VTAMemAlloc, VTAMemGetPhyAddr"):
        LibraryDriver(path)
    with pytest.raises(DriverError, match="there is no driver library"):
        LibraryDriver(tmp_path / "none.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(DriverError, match="cannot be loaded"):
        LibraryDriver(tmp_path / "text.so")
