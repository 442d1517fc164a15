"""The command line end to end, on the model that ships with dcc."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from dcc.__main__ import main

MODEL = str(files("dcc.data") / "digits.onnx")
DATA = str(files("dcc.data") / "digits.npz")


def run_ok(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def read_json(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    run_ok("compress", MODEL, "-o", folder / "digits.dcz", "--recipe", "deep-compression")
    run_ok("compile", folder / "digits.dcz", "-o", folder / "digits.so")
    return folder


def test_lossless_round_trip_is_bit_identical(tmp_path):
    run_ok("compress", MODEL, "-o", tmp_path / "a.dcz")
    run_ok("decompress", tmp_path / "a.dcz", "-o", tmp_path / "a.onnx")
    before, after = onnx.load(MODEL), onnx.load(tmp_path / "a.onnx")
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        assert old.name == new.name
        np.testing.assert_array_equal(numpy_helper.to_array(old), numpy_helper.to_array(new))
    del before.graph.initializer[:], after.graph.initializer[:]
    assert before.graph == after.graph


def test_inspect_shows_where_the_bytes_go(built, tmp_path, capsys):
    for name in (MODEL, built / "digits.dcz", built / "digits.so"):
        run_ok("inspect", name, "--json", tmp_path / "report.json")
        report = read_json(tmp_path / "report.json")
        assert "hidden.weight" in capsys.readouterr().out
        for layer in report["layers"]:
            assert {"name", "shape", "density", "form", "reason", "bytes"} <= set(layer)
            parts = ("weights", "indices", "codebook", "tables", "padding")
            assert sum(layer["bytes"][part] for part in parts) == layer["bytes"]["total"]
        hidden = next(layer for layer in report["layers"] if layer["name"] == "hidden.weight")
        assert hidden["shape"] == [128, 256]
        assert hidden["density"] == pytest.approx(0.08, abs=1e-3)
    assert sum(report["parts"].values()) == (built / "digits.so").stat().st_size


def test_the_container_is_much_smaller(built):
    assert (built / "digits.dcz").stat().st_size * 15 < Path(MODEL).stat().st_size


def test_run_saves_outputs_by_name(built, tmp_path, capsys):
    image = np.load(DATA)["x"][:1]
    np.savez(tmp_path / "in.npz", image=image)
    run_ok(
        "run", built / "digits.so", "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz"
    )
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs.files == ["logits"]
        assert outputs["logits"].argmax() == np.load(DATA)["y"][0]
    assert "logits" in capsys.readouterr().out


def test_random_inputs_are_seeded(built, tmp_path):
    saved = []
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        run_ok("run", built / "digits.so", "--seed", seed, "--output", tmp_path / name)
        saved.append(np.load(tmp_path / name)["logits"])
    np.testing.assert_array_equal(saved[0], saved[1])
    assert not np.array_equal(saved[0], saved[2])


def test_verify_against_the_container(built, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    run_ok("verify", built / "digits.so", built / "digits.dcz", "--json", tmp_path / "v.json")
    result = read_json(tmp_path / "v.json")
    assert result["holds"]
    assert result["criterion"] == "tolerance"
    assert result["outputs"][0]["relative_error"] <= 1e-5
    assert "holds" in capsys.readouterr().out


def test_verify_accuracy_against_the_model(built, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    arguments = ("--data", DATA, "--max-drop", "1", "--json", tmp_path / "v.json")
    run_ok("verify", built / "digits.so", MODEL, *arguments)
    result = read_json(tmp_path / "v.json")
    assert result["criterion"] == "accuracy"
    assert result["runs"] == 360
    assert result["reference_accuracy"] == pytest.approx(98.89, abs=0.01)
    assert result["accuracy"] >= 97.89
    assert "accuracy:" in capsys.readouterr().out


def test_verify_only_reports_what_the_recipe_changed(built, capsys):
    pytest.importorskip("onnxruntime")
    run_ok("verify", built / "digits.so", MODEL)
    assert "reported only" in capsys.readouterr().out


def test_verify_says_by_its_exit_code_that_it_does_not_hold(built, capsys):
    pytest.importorskip("onnxruntime")
    assert (
        main(["verify", str(built / "digits.so"), str(built / "digits.dcz"), "--tolerance", "0"])
        == 1
    )
    assert "DOES NOT HOLD" in capsys.readouterr().out
    impossible = ("--data", DATA, "--max-drop", "-50")
    assert main(["verify", str(built / "digits.so"), MODEL, *impossible]) == 1


def test_compile_an_onnx_file_for_another_batch(tmp_path):
    pytest.importorskip("onnxruntime")
    module = tmp_path / "batch.so"
    run_ok(
        "compile", MODEL, "-o", module, "--shape", "image=7,1,8,8", "--json", tmp_path / "c.json"
    )
    assert read_json(tmp_path / "c.json")["inputs"][0]["shape"] == [7, 1, 8, 8]
    run_ok("verify", module, MODEL, "--data", DATA)


@pytest.mark.parametrize("storage", ["dense", "codebook", "sparse", "huffman"])
def test_each_storage_form(built, tmp_path, storage):
    pytest.importorskip("onnxruntime")
    module = tmp_path / f"{storage}.so"
    run_ok("compile", built / "digits.dcz", "-o", module, "--storage", storage)
    run_ok("verify", module, built / "digits.dcz", "--json", tmp_path / "v.json")
    run_ok("inspect", module, "--json", tmp_path / "i.json")
    forms = {layer["name"]: layer["form"] for layer in read_json(tmp_path / "i.json")["layers"]}
    assert forms["hidden.weight"].startswith(storage)


def test_verbose_gives_the_reasons(tmp_path, capsys):
    run_ok("compress", MODEL, "-o", tmp_path / "a.dcz", "--recipe", "deep-compression", "-v")
    assert "hidden.weight: mask keeps" in capsys.readouterr().err


def test_dump_writes_the_ir_after_each_pass(built, tmp_path):
    run_ok("compile", built / "digits.dcz", "-o", tmp_path / "a.so", "--dump", tmp_path / "ir")
    dumped = sorted((tmp_path / "ir").iterdir())
    assert len(dumped) >= 3
    assert any("dcc." in path.read_text() for path in dumped)


def test_bench(built, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    arguments = ("--threads", "1", "--layers", "--json", tmp_path / "b.json")
    run_ok("bench", built / "digits.so", MODEL, *arguments)
    result = read_json(tmp_path / "b.json")
    assert [row["kind"] for row in result["contenders"]] == ["dcc", "onnxruntime", "tvm"]
    for row in result["contenders"]:
        assert row["failure"] is None
        assert row["median_seconds"] > 0
        assert row["peak_bytes"] > row["file_bytes"] > 0
    assert result["contenders"][2]["error"] < 1e-5
    assert result["kernels"]
    assert result["threads"] == 1
    assert "ONNX Runtime" in capsys.readouterr().out


def test_bench_energy(built, tmp_path, capsys):
    run_ok("bench", built / "digits.so", "--energy", "--json", tmp_path / "e.json")
    shown = " ".join(capsys.readouterr().out.split())
    assert "energy proxy of one run on host, counted, not measured" in shown
    assert "measured by the machine's counters" in shown or "not measured: RAPL" in shown
    values = read_json(tmp_path / "e.json")
    assert values["proxy"]["total_picojoules"] > 0
    assert {"arithmetic", "level1", "dram"} <= set(values["proxy"]["layers"][0]["picojoules"])
    assert all(each["kind"] == "measured" for each in values["measured"])


def test_bench_energy_by_form(built, capsys):
    run_ok("bench", built / "digits.so", MODEL, "--energy")
    shown = " ".join(capsys.readouterr().out.split())
    assert "energy proxy by form" in shown
    assert all(form in shown for form in ("dense", "codebook", "sparse", "huffman"))


def test_bench_alone(built, tmp_path):
    run_ok("bench", built / "digits.so", "--against", "", "--json", tmp_path / "b.json")
    assert [row["kind"] for row in read_json(tmp_path / "b.json")["contenders"]] == ["dcc"]


@pytest.mark.parametrize(
    ("command", "known"), [("recipes", "deep-compression"), ("targets", "host")]
)
def test_lists(command, known, tmp_path, capsys):
    run_ok(command, "--json", tmp_path / "list.json")
    assert known in capsys.readouterr().out
    assert known in {entry["name"] for entry in read_json(tmp_path / "list.json")[command]}


def test_the_shipped_net(capsys):
    runtime = pytest.importorskip("onnxruntime")
    model = onnx.load(MODEL)
    assert 30_000 <= sum(np.prod(w.dims) for w in model.graph.initializer) <= 100_000
    with np.load(DATA) as data:
        logits = runtime.InferenceSession(MODEL).run(None, {"image": data["x"]})[0]
        assert (logits.argmax(1) == data["y"]).mean() >= 0.98
