"""Every way to decode a huffman layout in the rows kernel, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_runs import HOST, normal, run_all, stored
from weights import random_weight

from dcc.codegen.packed_streams import entropy_code, pack_huffman
from dcc.codegen.packing import Packing
from dcc.codegen.unpacking import unpack
from dcc.errors import CompileError
from dcc.schedules.kernels import build_kernel, fold_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import Tunables, default_tunables
from dcc.targets.registry import get_target

CODINGS = [
    {"code_length": code_length, "refill_steps": refill_steps, "window": window}
    for code_length, refill_steps, window in (
        (None, 1, 0),
        (7, 2, 0),
        (7, 1, 32),
        (7, 2, 32),
        (12, 2, 32),
    )
]


def kernels_of(weight, samples, codings, target, in_flight=None):
    """Kernels of a product in each coding, with their arguments."""
    x = normal((samples, weight.columns))
    shape, kernels = LayerShape("matmul", samples=samples), {}
    for number, coding in enumerate(codings):
        packing = Packing(target.vector_floats, sort=True, **coding)
        if packing.window and target.vector_floats != 16:
            packing = Packing(target.vector_floats, window=8)
        packed = pack_for(weight, "huffman", packing)
        kernel = build_kernel(shape, packed, target, Tunables(packing, in_flight))
        kernel, arrays = stored(kernel, packed, target)
        kernels[f"coding_{number}"] = (kernel, [x, *arrays.values()])
    return kernels, x.astype(np.float64) @ weight.decode().astype(np.float64).T


@pytest.mark.parametrize("name", ["host", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("levels", [16, 40, 200, None])
def test_every_coding(name, levels):
    """Tables of bytes, in one part or two, tables of words, and what only fits the latter."""
    target = get_target(name)
    if not set(target.required_features) <= set(HOST.required_features):
        pytest.skip(f"this machine is no {name}")
    weight = random_weight(np.random.default_rng(1), 33, 150, 0.3, levels)
    samples, in_flight = (3, 2) if levels == 40 else (1, None)
    kernels, expected = kernels_of(weight, samples, CODINGS, target, in_flight)
    results = run_all(kernels, [(expected.shape, "float32")], target=target)
    for coding, (found,) in results.items():
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=coding)


@pytest.mark.parametrize(("rows", "columns"), [(1, 40), (17, 33), (40, 35)])
@pytest.mark.parametrize(("density", "levels"), [(0.0, 9), (0.4, 1), (0.02, 9), (1.0, 9)])
def test_odd_sizes(rows, columns, density, levels):
    weight = random_weight(np.random.default_rng(rows), rows, columns, density, levels)
    codings = [coding for coding in CODINGS if coding["refill_steps"] == 2][:2]
    kernels, expected = kernels_of(weight, 1, codings, HOST)
    for coding, (found,) in run_all(kernels, [(expected.shape, "float32")]).items():
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=coding)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 90),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from([1, 3, 16, 90, 250, None]),
    st.sampled_from(CODINGS),
    st.sampled_from([4, 8, 16]),
)
def test_what_is_packed_comes_back(seed, rows, columns, density, levels, coding, lanes):
    weight = random_weight(np.random.default_rng(seed), rows, columns, density, levels)
    if weight.refusal("huffman") is not None:
        return
    packed = pack_huffman(weight, Packing(lanes, sort=True, **coding))
    coded = entropy_code(packed)
    assert coded.nbytes.total == sum(array.nbytes for array in coded.arrays.values())
    assert packed.refill_steps in (1, coding["refill_steps"])
    for array in (unpack(packed), unpack(coded)):
        np.testing.assert_array_equal(array, weight.decode())


def test_default_coding_of_the_host():
    """Tables in registers where the machine has them, and two steps a refill."""
    weight = random_weight(np.random.default_rng(2), 64, 400, 0.1, 16)
    packing = default_tunables(LayerShape("matmul"), "huffman", HOST, weight).packing
    packed = pack_huffman(weight, packing)
    registers = "avx512vbmi" in HOST.features
    assert packed.byte_tables == registers
    assert packed.refill_steps == (2 if {"avx512f", "avx2"} & HOST.features else 1)


def test_slices_hold_whole_turns():
    """Two steps a refill: an even number of steps in every slice, a grid of 33 columns has not."""
    weight = random_weight(np.random.default_rng(3), 40, 33, 0.5, 3)
    packed = pack_huffman(weight, Packing(8, refill_steps=2, gap_bits=3))
    assert packed.refill_steps == 2
    assert not (packed.arrays["bases"] % 2).any()
    grid = pack_huffman(
        random_weight(np.random.default_rng(3), 40, 33, 1.0, 3), Packing(8, refill_steps=2)
    )
    assert grid.refill_steps == 1


def test_padding_of_windows_has_no_offsets():
    """Codes of 0 come without an offset, so a stream holds fewer offsets than codes."""
    weight = random_weight(np.random.default_rng(4), 32, 200, 0.05, 2)
    packed = pack_huffman(weight, Packing(16, window=32, code_length=7))
    assert packed.symbols == ("codes", "offsets")
    assert packed.optional_symbol == "offsets"
    padding = int(np.count_nonzero(packed.arrays["codes"] == 0))
    assert padding > 0
    bits = entropy_code(packed).nbytes
    kept = packed.arrays["codes"].size - padding
    assert 8 * (bits.weights + bits.indices) < packed.arrays["codes"].size + 7 * kept + 8 * 1000


@pytest.mark.skipif("avx512vbmi" not in HOST.features, reason="reads all lanes at once")
def test_a_kernel_that_reads_half_a_turn_is_refused():
    weight = random_weight(np.random.default_rng(5), 32, 200, 0.2, 16)
    one = pack_huffman(weight, Packing(16, code_length=7, gap_bits=3))
    two = pack_huffman(weight, Packing(16, code_length=7, gap_bits=3, refill_steps=2))
    kernel = build_kernel(LayerShape("matmul"), one, HOST, Tunables(Packing(16)))
    with pytest.raises(CompileError, match="comes out of turn; read the fields"):
        fold_kernel(kernel, two, HOST.features)
