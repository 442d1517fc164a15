"""Cycles without a device: reading assembly, counting blocks under QEMU, llvm-mca, tuning by them."""

import json

import numpy as np
import onnx
import pytest
from coded_models import weight as sparse_weight
from emulated import needs_emulator
from onnx import TensorProto, helper, numpy_helper

import dcc
from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.errors import CompileError, TargetError, TuningError
from dcc.estimation import estimate
from dcc.schedules.kernels import build_kernel, fold_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.mca.assembly import read_function
from dcc.schedules.mca.cycles import cycles_of, find_mca
from dcc.schedules.mca.estimate import estimate_kernel
from dcc.schedules.tunables import default_tunables
from dcc.targets.registry import get_target
from dcc.tuning_devices import Estimates, find_devices

TRIPLE, MODEL = "aarch64-linux-gnu", "neoverse-n1"
TEXT = """\
	.text
	.file	"TVMMod"
	.globl	f
f:
.Lfunc_begin0:
	.loc	1 0 0
	mov	x8, xzr
.LBB0_1:
	mov	x9, xzr                         // a comment
.LBB0_2:
	ldr	s0, [x0, x9, lsl #2]
	cbz	w3, .LBB0_4
	fadd	s1, s0, s1
.LBB0_4:
	add	x9, x9, #1
	cmp	x9, #8
	b.ne	.LBB0_2
	add	x8, x8, #1
	cmp	x8, #3
	b.ne	.LBB0_1
	ret
.Lfunc_end0:
	.section	.debug_info,"",@progbits
	.byte	1
"""


@pytest.fixture
def _mca():
    try:
        find_mca()
    except TargetError as error:
        pytest.skip(str(error))


@pytest.fixture
def _tools(_mca):
    needs_emulator()


def test_blocks_and_loops_of_a_function():
    function = read_function(TEXT, "f")
    first, outer, load, add, end, tail, back = function.blocks
    assert [block.instructions[0].split()[0] for block in function.blocks] == [
        "mov",
        "mov",
        "ldr",
        "fadd",
        "add",
        "add",
        "ret",
    ]
    assert load.loop == add.loop == end.loop
    assert outer.loop == tail.loop != load.loop
    assert first.loop == back.loop == -1
    assert not [line for line in function.lines if "debug" in line or ".loc" in line]
    with pytest.raises(CompileError, match="no function 'g'"):
        read_function(TEXT, "g")


@pytest.mark.usefixtures("_mca")
def test_cycles_are_those_of_the_slowest_resource_or_chain():
    chain = ["fadd s0, s0, s1"] * 4  # four cycles each, one after the other
    apart = [f"fadd s{n}, s{n}, s31" for n in range(8)]  # two a cycle
    found = cycles_of([chain, apart], TRIPLE, MODEL)
    assert found[0] == pytest.approx(8, abs=0.5)  # the model gives an addition two cycles
    assert found[1] == pytest.approx(4, abs=0.5)
    with pytest.raises(CompileError, match="llvm-mca failed for neoverse-n1"):
        cycles_of([["no such instruction"]], TRIPLE, MODEL)


def test_missing_mca_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.delenv("LLVM_MCA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match="the package llvm-19"):
        find_mca()
    monkeypatch.setenv("LLVM_MCA", "gone")
    with pytest.raises(TargetError, match=r"'gone' \(variable LLVM_MCA\)"):
        find_mca()


def weight_matrix(rows, columns, density=0.2, levels=13):
    grid = sparse_weight(rows, columns, levels=levels, density=density)
    values, codes = np.unique(grid, return_inverse=True)
    return WeightMatrix.from_codes(codes.reshape(grid.shape).astype(np.uint8), values)


@pytest.mark.usefixtures("_tools")
@pytest.mark.parametrize("form", ["dense", "codebook", "sparse", "huffman"])
@pytest.mark.parametrize(
    ("rows", "columns", "samples", "lanes", "gap_bits"),
    [(33, 70, 1, 4, None), (17, 301, 2, 8, 12), (3, 9, 7, 4, None)],
)
def test_counts_and_answers(form, rows, columns, samples, lanes, gap_bits):
    target, weight = get_target("arm-cortex-a76"), weight_matrix(rows, columns)
    shape = LayerShape("matmul", samples=samples)
    packing = default_tunables(shape, form, target, weight).packing
    if form == "sparse":
        packing = Packing(lanes, sort=packing.sort, gap_bits=gap_bits)
    packed = pack_for(weight, form, packing)
    kernel, arrays = build_kernel(shape, packed, target), packed.arrays
    if form == "huffman":
        kernel, coded = fold_kernel(kernel, packed, target.features)
        arrays = coded.arrays
    x = np.random.default_rng(0).standard_normal((samples, columns)).astype(np.float32)
    given = {"x": x, "y": np.zeros((samples, rows), np.float32), **arrays}
    found = estimate_kernel(kernel, [given[p.name] for p in kernel.params], target)
    expected = x @ weight.decode().T
    np.testing.assert_allclose(found.results[0], expected, atol=1e-4 * np.abs(expected).max())
    assert found.memory == sum(given[p.name].nbytes for p in kernel.params) / 10
    cycles_seen = sum(piece.runs * piece.cycles for piece in found.pieces)
    assert found.arithmetic == pytest.approx(cycles_seen / 2.4)
    if form == "sparse":  # the hottest piece is the loop over steps, or its unrolled body
        assert found.pieces[0].runs in (packed.steps, packed.steps // 2)


@pytest.mark.usefixtures("_tools")
def test_kernels_for_android_run_as_those_of_linux():
    model, grid = one_layer()
    x = np.random.default_rng(1).standard_normal((1, 200)).astype(np.float32)
    found = estimate(model, {"x": x}, "android-arm64", storage="sparse")
    np.testing.assert_allclose(found.outputs[0], x @ grid, atol=1e-4)
    devices = find_devices(get_target("android-arm64"), "mca", None, None)
    assert isinstance(devices, Estimates)


def one_layer(rows=48, columns=200, density=0.05):
    grid = sparse_weight(columns, rows, density=density)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, rows])],
        [numpy_helper.from_array(grid, "w")],
    )
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8), grid


@pytest.mark.usefixtures("_tools")
def test_estimate_of_a_model_and_its_bounds():
    model, grid = one_layer()
    x = np.random.default_rng(1).standard_normal((1, 200)).astype(np.float32)
    found = estimate(model, {"x": x}, "arm-cortex-a76", storage="dense")
    np.testing.assert_allclose(found.outputs[0], x @ grid, atol=1e-4)
    ((_, kernel),) = found.kernels
    assert found.nanoseconds == max(kernel.arithmetic, kernel.memory)
    assert kernel.memory >= 48 * 200 * 4 / 10
    assert found.forms == {"w": "dense"}
    slower = estimate(model, {"x": x}, "arm-cortex-a53", storage="dense")
    assert slower.nanoseconds > found.nanoseconds
    with pytest.raises(TargetError, match="has no model of its pipeline"):
        estimate(model, {"x": x}, "host")


@pytest.mark.usefixtures("_tools")
def test_tuning_by_estimates(tmp_path):
    model, _ = one_layer()
    onnx.save(model, tmp_path / "m.onnx")
    folder = tmp_path / "database"
    report = dcc.tune(
        tmp_path / "m.onnx",
        folder,
        "arm-cortex-a76",
        storage="sparse",
        runner="mca",
        trials=6,
    )
    (layer,) = report.layers
    assert layer.failures == []
    assert layer.ratio >= 1.0
    device = json.loads((folder / "device.json").read_text())["device"]
    assert device == {"runner": "mca", "model": MODEL, "clock": 2.4, "memory_bandwidth": 10}
    (compiled,) = [
        each
        for each in dcc.compile(
            tmp_path / "m.onnx", target="arm-cortex-a76", storage="sparse", database=folder
        ).metadata["layers"]
        if each["form"] == "sparse"
    ]
    assert compiled["reason"].startswith("tuned:")
    with pytest.raises(TuningError, match="has no model of its pipeline"):
        dcc.tune(tmp_path / "m.onnx", tmp_path / "other", runner="mca")
