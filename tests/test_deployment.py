"""``dcc deploy``, and modules that run elsewhere: under QEMU, over TVM's RPC."""

import json
import socket
import subprocess

import numpy as np
import onnx
import pytest
from coded_models import gemm, matmul_sizes
from emulated import needs_cross_compiler, needs_runtime

import dcc
from dcc.__main__ import main
from dcc.deployment import deploy
from dcc.device_runtime import check_libraries, fetch_libraries, header_folder
from dcc.emulation import EmulatedModule
from dcc.errors import InputError, ModuleError, TargetError
from dcc.remote import RemoteModule
from dcc.running import load_for
from dcc.targets.emulation import emulator_for
from dcc.targets.registry import get_target

ARM = "arm-cortex-a72"


@pytest.fixture(scope="module")
def arm_module(tmp_path_factory):
    needs_cross_compiler(ARM)
    folder = tmp_path_factory.mktemp("arm")
    model, feeds = gemm()
    onnx.save(model, folder / "model.onnx")
    dcc.compile(folder / "model.onnx", folder / "model.so", ARM, storage="sparse")
    return folder / "model.so", feeds


def test_folder_without_a_runtime_says_what_to_do(arm_module, tmp_path):
    module, _ = arm_module
    result = deploy(module, tmp_path / "out")
    assert sorted(result.files) == ["README.md", "model.so", "runner.cc"]
    assert result.notes == [
        "without TVM's runtime libraries: say --fetch-runtime, or --runtime DIR"
    ]
    page = (tmp_path / "out" / "README.md").read_text()
    assert "aarch64" in page
    assert "`x: float32[3, 20]`; `xt: float32[20, 3]`" in page
    assert "-ltvm_ffi" in page


def test_folder_with_a_runtime_runs_alone(arm_module, tmp_path):
    needs_runtime(ARM)
    module, feeds = arm_module
    out = tmp_path / "out"
    command = ["deploy", str(module), "-o", str(out), "--fetch-runtime"]
    assert main([*command, "--json", str(tmp_path / "o.json")]) in (0, None)
    files = json.loads((tmp_path / "o.json").read_text())["files"]
    assert {"runner", "lib/libtvm_runtime.so", "lib/libtvm_ffi.so"} <= files.keys()
    for number, array in enumerate(feeds.values()):
        np.save(out / f"input_{number}.npy", array)
    emulator = emulator_for(get_target(ARM).triple)
    program = [*emulator, "./runner", "model.so", "-o", ".", "-n", "3"]
    inputs = ["input_0.npy", "input_1.npy"]
    done = subprocess.run([*program, *inputs], cwd=out, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("median of 3 runs: ")
    expected = EmulatedModule(module)(feeds)
    for number, array in enumerate(expected):
        np.testing.assert_array_equal(np.load(out / f"output_{number}.npy"), array)
    for wrong, said in [
        (["gone.npy", "input_1.npy"], "there is no file 'gone.npy'"),
        (["README.md", "input_1.npy"], "is no .npy file"),
        (["input_1.npy", "input_0.npy"], "error"),
        (["input_0.npy"], "error"),
    ]:
        done = subprocess.run(
            [*program, *wrong], cwd=out, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert said in done.stderr


def test_faults_of_deploying(arm_module, tmp_path):
    module, _ = arm_module
    with pytest.raises(TargetError, match=r"lacks libtvm_runtime\.so"):
        check_libraries(tmp_path)
    with pytest.raises(TargetError, match="no wheel of TVM serves aarch64-linux-android"):
        fetch_libraries("aarch64-linux-android")
    with pytest.raises(ModuleError, match="there is no file"):
        deploy(tmp_path / "gone.so", tmp_path / "out")
    assert main(["deploy", str(module), "-o", str(tmp_path), "--target", ARM]) == 2
    assert main(["deploy", "m.onnx", "-o", "o", "--standalone", "--fetch-runtime"]) == 2
    (tmp_path / "file").write_text("")
    assert main(["deploy", str(module), "-o", str(tmp_path / "file")]) == 2
    assert (header_folder() / "tvm" / "ffi" / "function.h").is_file()


def test_a_module_for_another_processor_needs_to_be_told_where(arm_module, capsys):
    needs_runtime(ARM)
    module, _ = arm_module
    assert main(["run", str(module)]) == 2
    said = capsys.readouterr().err
    assert "is compiled for aarch64" in said
    assert "--emulate" in said
    assert "--rpc" in said
    assert main(["run", str(module), "--emulate"]) in (0, None)
    shown = capsys.readouterr().out
    assert "y0" in shown
    assert "no latency" in shown
    with pytest.raises(InputError, match="give one"):
        load_for(module, emulate=True, rpc="localhost:1")


def test_many_inputs_go_to_one_process(arm_module, monkeypatch):
    needs_runtime(ARM)
    module, feeds = arm_module
    emulated = EmulatedModule(module)
    started = []
    run = emulated._run
    monkeypatch.setattr(emulated, "_run", lambda command: started.append(command) or run(command))
    scales = (1, -2, 0.5, 3, 0)
    many = [{name: np.float32(scale) * value for name, value in feeds.items()} for scale in scales]
    monkeypatch.setattr("dcc.emulation._MOST_RUNS", 3)
    answers = list(emulated.each(iter(many)))
    assert len(started) == 3  # the first alone, three, the rest
    assert len(answers) == 5
    for given, found in zip(many[:4], answers, strict=False):
        for array, alone in zip(found, emulated(given), strict=True):
            np.testing.assert_array_equal(array, alone)
    started.clear()
    monkeypatch.setattr("dcc.emulation._LONG_ENOUGH", 0)  # as of a model that takes minutes
    assert len(list(emulated.each(iter(many)))) == 5
    assert len(started) == 5


@pytest.fixture
def server():
    from tvm import rpc

    started = rpc.Server("127.0.0.1", 9290, 9390, silent=True)
    yield f"127.0.0.1:{started.port}"
    started.terminate()


def test_over_the_network(server, arm_module, tmp_path):
    model, feeds = matmul_sizes()
    dcc.compile(model, tmp_path / "m.so", storage="huffman")
    remote = RemoteModule(tmp_path / "m.so", server)
    for there, here in zip(remote(feeds), dcc.load(tmp_path / "m.so")(feeds), strict=True):
        np.testing.assert_array_equal(there, here)
    with pytest.raises(InputError, match="missing"):
        remote({})
    del remote
    with pytest.raises(TargetError, match="is it compiled for that device"):
        RemoteModule(arm_module[0], server)


@pytest.mark.parametrize("address", ["nowhere", "host:", ":1", "host:99999", "host:x"])
def test_wrong_addresses(address, arm_module):
    with pytest.raises(InputError, match="expected HOST:PORT"):
        RemoteModule(arm_module[0], address)


def test_no_server_is_one_clear_error(arm_module):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TargetError, match=rf"no RPC server of TVM at 127\.0\.0\.1:{port}"):
        RemoteModule(arm_module[0], f"127.0.0.1:{port}")


def test_every_kernel_has_a_schedule(arm_module, capsys):
    module, _ = arm_module
    kernels = dcc.inspect(module).details["kernels"]
    assert kernels
    assert "none" not in kernels.values()
    assert "scalar_rows" in kernels.values()
    assert main(["inspect", str(module)]) in (0, None)
    assert "scalar_rows" in capsys.readouterr().out
