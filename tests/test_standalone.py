"""``dcc deploy --standalone``: plain C around the kernels, run here and on ARM under QEMU."""

import ctypes
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from coded_models import conv1d, conv2d, gather, gemm, lstm, matmul_sizes
from elftools.elf.elffile import ELFFile
from emulated import needs_cross_compiler, needs_emulator
from hypothesis import given, settings
from hypothesis import strategies as st

from dcc.__main__ import main
from dcc.codegen.memory_plan import Lifetime, largest_sum, plan_memory
from dcc.codegen.standalone_interface import identifier
from dcc.errors import CompileError, ModelError, TargetError
from dcc.standalone import deploy_standalone
from dcc.targets.emulation import emulator_for
from dcc.targets.registry import get_target
from dcc.targets.toolchain import archiver_for, compiler_for

ARM = "arm-cortex-a53"


def run_example(folder, target, inputs, outputs):
    """Link the example with the library, run it, and return what it wrote."""
    triple = get_target(target).triple
    program = folder / "example"
    (library,) = folder.glob("lib*.a")
    command = [*compiler_for(triple), "-x", "c", "-O1", "-Wall", "-Wextra", "-Werror"]
    command += [str(folder / "example.c"), "-x", "none", str(library), "-lm", "-o", str(program)]
    subprocess.run([*command[:1], f"-I{folder}", *command[1:]], check=True)
    files = [str(folder / f"in{n}.npy") for n in range(len(inputs))]
    for file, array in zip(files, inputs, strict=True):
        np.save(file, array)
    results = [str(folder / f"out{n}.npy") for n in range(outputs)]
    subprocess.run([*emulator_for(triple), str(program), *files, *results], check=True)
    return [np.load(file) for file in results]


def agrees(path, target, feeds, folder, **options):
    import onnxruntime

    result = deploy_standalone(path, folder, target, **options)
    session = onnxruntime.InferenceSession(str(path))
    expected = session.run(None, feeds)
    inputs = [feeds[each.name] for each in session.get_inputs()]
    for ours, theirs in zip(
        run_example(folder, target, inputs, len(expected)), expected, strict=True
    ):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        scale = max(float(np.abs(theirs).max()), 1.0)
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * scale)
    return result


def random_feeds(path):
    from dcc.importer import import_model
    from dcc.onnx_weights import load_model
    from dcc.random_inputs import random_inputs

    return random_inputs(import_model(load_model(path), None).inputs, 0, None)


def no_runtime_needed(folder, target):
    """What the objects want and none of them has: nothing but C's own functions."""
    (library,) = folder.glob("lib*.a")
    with tempfile.TemporaryDirectory() as place:
        command = [*archiver_for(get_target(target).triple), "x", str(library)]
        subprocess.run(command, cwd=place, check=True)
        wanted, defined = set(), set()
        for path in Path(place).iterdir():
            with path.open("rb") as file:
                for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols():
                    missing = symbol["st_shndx"] == "SHN_UNDEF"
                    (wanted if missing else defined).add(symbol.name)
    left = wanted - defined - {"", "memset", "memcpy", "_GLOBAL_OFFSET_TABLE_"}
    assert not [name for name in left if not hasattr(ctypes.CDLL("libm.so.6"), name)]


@pytest.mark.parametrize(
    ("name", "most_bytes"),
    [
        ("lenet5_caffe_mnist_pruned_dns", 64 * 1024),
        ("mlperf_tiny_kws_dscnn_f32", 160 * 1024),
    ],
)
def test_real_networks_on_arm(name, most_bytes, shared_model, tmp_path):
    pytest.importorskip("onnxruntime")
    needs_emulator(ARM)
    path = shared_model(f"{name}.onnx")
    result = agrees(path, ARM, random_feeds(path), tmp_path, name="net")
    assert result.code + result.read_only <= most_bytes
    assert result.writable == 0
    assert result.workspace <= 1.1 * result.activations
    no_runtime_needed(tmp_path, ARM)


OPERATORS = {each.__name__: each for each in (conv1d, conv2d, gather, gemm, lstm, matmul_sizes)}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_on_the_host(name, tmp_path):
    pytest.importorskip("onnxruntime")
    model, feeds = OPERATORS[name]()
    onnx.save(model, tmp_path / "model.onnx")
    agrees(tmp_path / "model.onnx", "host", feeds, tmp_path / "out", storage="sparse")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dense", "codebook", "huffman"])
@pytest.mark.parametrize("name", OPERATORS)
def test_operators_on_arm(name, form, tmp_path):
    pytest.importorskip("onnxruntime")
    needs_emulator(ARM)
    model, feeds = OPERATORS[name]()
    onnx.save(model, tmp_path / "model.onnx")
    agrees(tmp_path / "model.onnx", ARM, feeds, tmp_path / "out", storage=form)


def test_outputs_that_are_inputs_constants_or_twice_the_same(tmp_path):
    pytest.importorskip("onnxruntime")
    from coded_models import data, model_of, node

    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Identity", ["x"], ["b"]),
        node("Identity", ["c"], ["d"]),
        node("Flatten", ["a"], ["e"]),
    ]
    model, feeds = model_of(
        nodes, {"x": data(2, 3, 5)}, {"c": data(4, seed=3)}, ["a", "b", "d", "e"]
    )
    onnx.save(model, tmp_path / "m.onnx")
    agrees(tmp_path / "m.onnx", "host", feeds, tmp_path / "out")


def test_wrong_workspaces_and_tensors_are_refused(tmp_path):
    model, _ = matmul_sizes()
    onnx.save(model, tmp_path / "net.onnx")
    deploy_standalone(tmp_path / "net.onnx", tmp_path / "out")
    pointers = ", ".join(["t"] * 15)
    (tmp_path / "out" / "try.c").write_text(f"""
        #include "net.h"
        static unsigned char w[NET_WORKSPACE_BYTES + 64] __attribute__((aligned(64)));
        static float t[4096] __attribute__((aligned(64)));
        int main(void) {{
          net_model m = {{0}};
          if (net_run(&m, t, {pointers}) != NET_BAD_WORKSPACE) return 1;
          if (net_init(&m, w, NET_WORKSPACE_BYTES - 1) != NET_BAD_WORKSPACE) return 2;
          if (net_init(&m, w + 1, NET_WORKSPACE_BYTES) != NET_BAD_WORKSPACE) return 3;
          if (net_init(&m, 0, NET_WORKSPACE_BYTES) != NET_BAD_WORKSPACE) return 4;
          if (net_init(&m, w, NET_WORKSPACE_BYTES) != NET_OK) return 5;
          if (net_run(&m, 0, {pointers}) != NET_BAD_TENSOR) return 6;
          if (net_run(&m, t + 1, {pointers}) != NET_BAD_TENSOR) return 7;
          return 0;
        }}""")
    files = [str(tmp_path / "out" / name) for name in ("try.c", "libnet.a")]
    command = [*compiler_for(""), "-x", "c", files[0], "-x", "none", files[1], "-lm"]
    subprocess.run([*command, "-o", str(tmp_path / "try")], check=True)
    assert subprocess.run([str(tmp_path / "try")], check=False).returncode == 0


def test_command_line(tmp_path, capsys):
    needs_cross_compiler(ARM)
    model, _ = gemm()
    onnx.save(model, tmp_path / "1 small.onnx")
    command = ["deploy", str(tmp_path / "1 small.onnx"), "--standalone", "--target", ARM]
    command += ["-o", str(tmp_path / "out"), "--json", str(tmp_path / "o.json")]
    assert main(command) in (0, None)
    facts = json.loads((tmp_path / "o.json").read_text())
    assert facts["name"] == "m_1_small"
    assert facts["code"] > 0
    assert "workspace" in capsys.readouterr().out
    assert "m_1_small_run" in (tmp_path / "out" / "m_1_small.h").read_text()


def test_what_cannot_be_standalone_is_refused(tmp_path, shared_model):
    (tmp_path / "m.so").write_bytes(b"\x7fELF")
    with pytest.raises(ModelError, match="is a module, which cannot be compiled again"):
        deploy_standalone(tmp_path / "m.so", tmp_path / "out")
    with pytest.raises(TargetError, match="there is no target"):
        deploy_standalone(tmp_path / "m.onnx", tmp_path / "out", "arm-cortex-m4")
    with pytest.raises(TargetError, match="'vta-sim' is for an accelerator: a library without a"):
        deploy_standalone(tmp_path / "m.onnx", tmp_path / "out", "vta-sim")
    silero = shared_model("silero_vad_lstm_op18_ifless.onnx")
    shapes = {"input": (1, 576), "state": (2, 1, 128)}
    with pytest.raises(CompileError, match="deploy it without --standalone"):
        deploy_standalone(silero, tmp_path / "out", shapes=shapes)


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 9), st.integers(0, 9)), max_size=12))
@settings(max_examples=200, deadline=None)
def test_tensors_that_live_together_never_overlap(drawn):
    tensors = [Lifetime(size, min(a, b), max(a, b)) for size, a, b in drawn]
    plan = plan_memory(tensors)
    assert plan.size >= largest_sum(tensors)
    for n, one in enumerate(tensors):
        assert plan.offsets[n] % 64 == 0
        assert plan.offsets[n] + one.size <= plan.size
        for m, other in enumerate(tensors[:n]):
            apart = (
                plan.offsets[n] + one.size <= plan.offsets[m]
                or plan.offsets[m] + other.size <= plan.offsets[n]
            )
            assert apart or not one.meets(other)


def test_a_chain_needs_two_neighbours_only():
    chain = [Lifetime(size, step, step + 1) for step, size in enumerate([640, 64, 1280, 128])]
    assert plan_memory(chain).size == largest_sum(chain) == 1408


@pytest.mark.parametrize(
    ("name", "expected"), [("a-b c", "a_b_c"), ("1x", "m_1x"), ("é", "m__"), ("", "m_")]
)
def test_identifiers(name, expected):
    assert identifier(name) == expected
