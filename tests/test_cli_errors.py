"""Bad input on the command line: exit code 2, one clear line, no traceback without ``--debug``."""

import re
import resource
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import dcc
from dcc.__main__ import main

MODEL = str(files("dcc.data") / "digits.onnx")


def save_model(path, nodes, inputs, output, initializers=(), opsets=(("", 13),)):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        list(initializers),
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return str(path)


@pytest.fixture
def refused(capsys):
    """Run a command that must fail and return its one line."""

    def run(*arguments):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        # On a busy machine the work before the error may have shown its progress.
        progress = re.compile(r"[a-z ]+: \d+ of \d+")
        lines = [line for line in captured.err.splitlines() if not progress.fullmatch(line)]
        assert "Traceback" not in captured.err
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("dcc: error: "), lines[0]
        return lines[0]

    return run


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    path = tmp_path_factory.mktemp("module") / "digits.so"
    assert main(["compile", MODEL, "-o", str(path)]) == 0
    return path


@pytest.mark.parametrize("command", ["compress", "compile"])
class TestModels:
    def test_missing(self, command, refused, tmp_path):
        assert "nowhere.onnx" in refused(command, "nowhere.onnx", "-o", tmp_path / "out")

    @pytest.mark.parametrize("size", [0, 1, 1000, 100_000, -1])
    def test_truncated(self, command, refused, tmp_path, size):
        path = tmp_path / "cut.onnx"
        path.write_bytes(Path(MODEL).read_bytes()[:size])
        assert "cut.onnx" in refused(command, path, "-o", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_malformed(self, command, refused, tmp_path):
        path = tmp_path / "text.onnx"
        path.write_text("this is no model\n" * 100)
        assert "text.onnx" in refused(command, path, "-o", tmp_path / "out")

    def test_folder(self, command, refused, tmp_path):
        refused(command, tmp_path, "-o", tmp_path / "out")

    def test_missing_external_data(self, command, refused, tmp_path):
        model = onnx.load(MODEL)
        path = tmp_path / "external.onnx"
        onnx.save(
            model, path, save_as_external_data=True, location="weights.bin", size_threshold=1024
        )
        (tmp_path / "weights.bin").unlink()
        assert "weights.bin" in refused(command, path, "-o", tmp_path / "out")

    def test_wrong_recipe(self, command, refused, tmp_path):
        recipe = tmp_path / "mine.yaml"
        recipe.write_text("global:\n  bitz: 5\n")
        line = refused(command, MODEL, "-o", tmp_path / "out", "--recipe", recipe)
        assert "line 2" in line
        assert "global.bitz" in line
        assert "no recipe" in refused(command, MODEL, "-o", tmp_path / "out", "--recipe", "losless")

    def test_folder_of_the_output_is_missing(self, command, refused, tmp_path):
        assert "nowhere" in refused(command, MODEL, "-o", tmp_path / "nowhere" / "out")


def test_unsupported_operator(refused, tmp_path):
    node = helper.make_node("Mystery", ["x"], ["y"], "strange", domain="org.example")
    path = save_model(
        tmp_path / "m.onnx", [node], [("x", [1, 2])], [1, 2], opsets=(("", 13), ("org.example", 1))
    )
    assert "Mystery" in refused("compile", path, "-o", tmp_path / "out.so")


def test_dynamic_dimension_names_the_flag(refused, tmp_path):
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = save_model(
        tmp_path / "m.onnx", [node], [("x", ["N", "steps", 4])], ["N", "steps", 4], [weight]
    )
    assert "--shape" in refused("compile", path, "-o", tmp_path / "out.so")
    assert main(["compile", path, "-o", str(tmp_path / "out.so"), "--shape", "x=1,3,4"]) == 0


@pytest.mark.parametrize("shape", ["x", "x=a,b", "=1,2", "x=1,,2", "x=-1"])
def test_malformed_shape(refused, tmp_path, shape):
    assert "--shape" in refused("compile", MODEL, "-o", tmp_path / "out.so", "--shape", shape)


@pytest.mark.parametrize("shape", ["imag=1,1,8,8", "image=1,1,8", "image=1,2,8,8"])
def test_shape_that_does_not_fit(refused, tmp_path, shape):
    assert "image" in refused("compile", MODEL, "-o", tmp_path / "out.so", "--shape", shape)


def test_unknown_target(refused, tmp_path):
    line = refused("compile", MODEL, "-o", tmp_path / "out.so", "--target", "hosd")
    assert "did you mean 'host'" in line


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"imag": np.zeros((1, 1, 8, 8), "float32")}, "image"),
        ({}, "image"),
        ({"image": np.zeros((1, 8, 8), "float32")}, "[1, 1, 8, 8]"),
        ({"image": np.zeros((1, 1, 8, 8), "float64")}, "float32"),
        ({"image": np.zeros((1, 1, 8, 8), "float32"), "more": np.zeros(1)}, "more"),
    ],
)
def test_wrong_inputs(module, refused, tmp_path, arrays, expected):
    np.savez(tmp_path / "in.npz", **arrays)
    assert expected in refused("run", module, "--input", tmp_path / "in.npz")


def test_wrong_files_to_run(module, refused, tmp_path):
    assert "no file" in refused("run", tmp_path / "missing.so")
    assert "ELF" in refused("run", MODEL)
    cut = tmp_path / "cut.so"
    cut.write_bytes(module.read_bytes()[:5000])
    refused("run", cut)
    refused("run", module, "--input", MODEL)
    refused("run", module, "--range", "image=1")
    refused("run", module, "--range", "other=0:1")


def test_wrong_container(refused, tmp_path):
    path = tmp_path / "bad.dcz"
    path.write_bytes(b"dcz or not")
    for command in ("decompress", "compile"):
        assert "bad.dcz" in refused(command, path, "-o", tmp_path / "out")
    assert "bad.dcz" in refused("inspect", path)


def test_wrong_reference(module, refused, tmp_path):
    pytest.importorskip("onnxruntime")
    other = save_model(
        tmp_path / "other.onnx", [helper.make_node("Relu", ["x"], ["y"])], [("x", [1, 2])], [1, 2]
    )
    assert "another model" in refused("verify", module, other)
    assert "no file" in refused("verify", module, tmp_path / "missing.onnx")
    assert "--data" in refused("verify", module, MODEL, "--max-drop", "1")
    assert "expected any of" in refused("bench", module, MODEL, "--against", "torch")


def test_onnxruntime_is_not_installed(module, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for command in ("verify", "bench"):
        assert "pip install '.[verify]' in dcc's source tree" in refused(command, module, MODEL)


def test_no_model_for_the_opponents(module, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "dcc bench OUT.so MODEL.onnx" in refused("bench", module)


def test_no_compiler(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler" in refused("compile", MODEL, "-o", tmp_path / "out.so")


def test_usage_errors_are_one_line(refused):
    assert "--help" in refused("compile")
    assert "bogus" in refused("bogus")
    assert "storage" in refused("compile", MODEL, "-o", "x.so", "--storage", "zip")


def test_output_that_is_no_plain_file(refused):
    assert "/dev/full" in refused("compress", MODEL, "-o", "/dev/full")


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        (["compress", MODEL, "-o", "out"], 2000),
        (["compile", MODEL, "-o", "out"], 2000),
        (["inspect", MODEL, "--json", "out"], 100),
    ],
    ids=["compress", "compile", "json"],
)
def test_full_disk_leaves_the_old_file(tmp_path, arguments, limit):
    (tmp_path / "out").write_text("old")
    done = subprocess.run(
        [sys.executable, "-m", "dcc", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("dcc: error: cannot write"), done.stderr
    assert (tmp_path / "out").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_debug_shows_the_traceback(capsys):
    assert main(["inspect", "nowhere.onnx", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_unexpected_exceptions_are_one_line(monkeypatch, capsys):
    def fail(path):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(dcc, "inspect", fail)
    assert main(["inspect", MODEL]) == 2
    error = capsys.readouterr().err
    assert error == "dcc: unexpected RuntimeError: first line second line; --debug shows where\n"


def test_interrupt(monkeypatch, capsys):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(dcc, "inspect", interrupt)
    assert main(["inspect", MODEL]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_help_is_quick():
    """Neither numpy nor TVM may be imported to print help."""
    code = (
        "import sys, dcc.__main__\n"
        "assert dcc.__main__.main(['compile', '--help']) == 0\n"
        "assert not {'numpy', 'tvm', 'onnx', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--storage" in done.stdout
