"""The targets ``cuda*``: default schedules, costs, modules, and what is said without a card."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tvm_ffi
from coded_models import CASES
from weights import random_weight

import dcc
from dcc import device
from dcc.codegen.module_file import read_metadata, read_weights
from dcc.errors import ModuleError, TargetError
from dcc.schedules.cost_model import estimate_all
from dcc.schedules.cuda.packing import block_packing
from dcc.schedules.layer_shape import LayerShape
from dcc.standalone import deploy_standalone
from dcc.targets import cuda
from dcc.targets.cuda_toolchain import find_device_compiler
from dcc.targets.registry import get_target, list_targets

SM90 = get_target("cuda-sm90")
CARD = cuda.Card("Card", 9, 0, 132, 50 << 20)


def stand_in(rows, columns, density, codebook=16):
    """What the default schedule reads of a weight."""
    return SimpleNamespace(
        rows=rows,
        columns=columns,
        density=density,
        mask=None if density == 1 else ...,
        codebook=np.zeros(codebook, np.float32),
        code_bits=(codebook - 1).bit_length(),
        dtype=np.dtype("float32"),
    )


@pytest.mark.parametrize(
    ("form", "rows", "columns", "density", "expected"),
    [
        ("sparse", 4096, 9216, 0.09, (16, 32, 1, 2)),  # most rows: two words a load
        ("sparse", 1000, 4096, 0.25, (8, 64, 1, 1)),  # few rows: more blocks
        ("sparse", 4096, 25088, 0.04, (16, 64, 3, 1)),  # x in three parts: more threads
        ("sparse", 8791, 600, 0.11, (32, 16, 1, 1)),  # short rows: fewer segments
        ("huffman", 4096, 9216, 0.09, (16, 64, 1, 1)),  # long streams: more of them
        ("huffman", 8791, 600, 0.11, (16, 32, 1, 1)),
        ("codebook", 4096, 4096, 0.09, (32, 32, 1, 1)),
        ("sparse", 10, 100, 0.08, (32, 2, 1, 1)),
        ("sparse", 10, 100, 0.0, (32, 1, 1, 1)),
    ],
)
def test_default_blocks(form, rows, columns, density, expected):
    packing = block_packing(LayerShape("matmul"), form, SM90.gpu, stand_in(rows, columns, density))
    found = packing.block_rows, packing.segments, packing.phases, packing.load_words
    assert found == expected
    assert packing.code_length == (10 if form == "huffman" else None)


@pytest.mark.parametrize("samples", [1, 3, 7])
@pytest.mark.parametrize("form", ["sparse", "huffman", "codebook"])
@pytest.mark.parametrize("density", [0.001, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("columns", [1, 31, 5000, 60_000])
@pytest.mark.parametrize("rows", [1, 1000, 40_000])
def test_blocks_are_whole_warps_and_no_larger_than_allowed(rows, columns, density, form, samples):
    gpu = SM90.gpu
    weight = stand_in(rows, columns, density, 256)
    packing = block_packing(LayerShape("matmul", samples=samples), form, gpu, weight)
    threads = packing.block_rows * packing.segments
    assert threads % gpu.warp == 0
    assert threads <= gpu.block_threads
    tables = 8 << 10 if form == "huffman" else 0
    inputs = -(-columns // packing.phases) * (1 + 1 / packing.segments)
    assert 4 * samples * max(inputs, threads) + tables <= gpu.shared_bytes


@pytest.mark.parametrize(("samples", "density"), [(1, 0.05), (64, 0.02)])
def test_pruned_layers_are_sparse(samples, density):
    weight = random_weight(np.random.default_rng(1), 2048, 4096, density, 16)
    estimates = estimate_all(weight, LayerShape("matmul", samples=samples), SM90)
    assert min(estimates.values(), key=lambda e: e.nanoseconds).form == "sparse"
    assert estimates["huffman"].kept_bytes < estimates["sparse"].kept_bytes


@pytest.mark.parametrize(("codebook", "form"), [(16, "codebook"), (None, "dense")])
def test_many_samples_of_a_full_layer_are_computed_in_tiles(codebook, form):
    weight = random_weight(np.random.default_rng(1), 4096, 128, 0.9, codebook)
    estimates = estimate_all(weight, LayerShape("matmul", samples=64), SM90)
    assert min(estimates.values(), key=lambda e: e.nanoseconds).form == form


def test_without_a_card_there_is_no_target_of_it(monkeypatch):
    monkeypatch.setattr(cuda, "find_card", lambda: None)
    with pytest.raises(TargetError, match=r"there is none .*'cuda-sm80' or 'cuda-sm90'") as caught:
        get_target("cuda")
    assert "\n" not in str(caught.value)
    assert "cuda" not in [target.name for target in list_targets()]
    assert "cuda-sm90" in [target.name for target in list_targets()]


def test_the_card_says_what_it_is(monkeypatch):
    monkeypatch.setattr(cuda, "find_card", lambda: cuda.Card("Small", 8, 6, 20, 3 << 20))
    target = get_target("cuda")
    assert target.options["arch"] == "sm_86"
    assert target.gpu.multiprocessors == 20
    assert target.caches.last_level == 3 << 20
    assert "Small" in target.description


def test_libraries_without_a_runtime_are_refused(tmp_path):
    model, _ = CASES["gemm"]()
    with pytest.raises(TargetError, match="'cuda-sm90' is for a card"):
        deploy_standalone(model, tmp_path, target="cuda-sm90")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A module for a card, which is compiled without one."""
    try:
        find_device_compiler()
    except TargetError as error:
        pytest.skip(str(error))
    model, _ = CASES["batch_norm"]()
    return dcc.compile(
        model, tmp_path_factory.mktemp("cuda") / "m.so", target="cuda-sm90", storage="huffman"
    )


def test_module_has_arrays_and_a_binary(compiled):
    metadata, weights = read_metadata(compiled.path), read_weights(compiled.path)
    layout = metadata["device"]
    assert layout["kind"] == "cuda"
    assert layout["arrays"]
    (code,) = layout["code"]
    assert weights[code["offset"] :][:4] == b"\x7fELF"
    assert code["offset"] + code["size"] <= len(weights)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "needs a CUDA card, which this machine lacks"),
        (cuda.Card("Old", 8, 0, 108, 40 << 20), r"compute capability 9.0, the card here \(Old\)"),
        (cuda.Card("New", 10, 0, 160, 60 << 20), r"compute capability 9.0, the card here \(New\)"),
    ],
)
def test_loading_without_such_a_card_says_so_in_one_line(compiled, card, message, monkeypatch):
    monkeypatch.setattr(device, "find_card", lambda: card)
    with pytest.raises(TargetError, match=message) as caught:
        compiled.load()
    assert "\n" not in str(caught.value)


def test_arrays_outside_of_the_weights_are_refused(compiled, monkeypatch):
    monkeypatch.setattr(device, "find_card", lambda: CARD)
    metadata = read_metadata(compiled.path)
    metadata["device"]["arrays"][0]["offset"] = 1 << 40
    with pytest.raises(ModuleError, match="damaged"):
        device.open_device(metadata, compiled.path)


def test_modules_are_built_where_the_runtime_is_loaded(tmp_path, compiled):
    """TVM's runtime, which a module that ran has loaded, makes modules of binaries it asks for."""
    name = "ffi.Module.create.cuda"

    def make(*_):
        raise RuntimeError("asked for a binary")

    assert tvm_ffi.get_global_func(name, allow_missing=True) is None
    tvm_ffi.register_global_func(name, make)
    try:
        model, _ = CASES["batch_norm"]()
        again = dcc.compile(model, tmp_path / "m.so", target="cuda-sm90", storage="huffman")
        assert tvm_ffi.get_global_func(name) is not None
    finally:
        tvm_ffi.remove_global_func(name)
    first, second = (read_metadata(each.path)["device"]["code"] for each in (compiled, again))
    assert [each["source"] for each in first] == [each["source"] for each in second]
