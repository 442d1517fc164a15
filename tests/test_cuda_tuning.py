"""``dcc tune`` for thread blocks: the search by PoCL from end to end, and what is said of cards."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pocl
import pytest
from coded_models import CASES, data, model_of, node, weight
from pocl_tuning import PoclDevices
from weights import random_weight

import dcc
from dcc import tuning_devices
from dcc.__main__ import main
from dcc.errors import TuningError
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunable_values import OF_KERNEL, OF_PACKING
from dcc.schedules.tunables import tunables_of
from dcc.schedules.tuning.candidate import search_space
from dcc.schedules.tuning.database import CHOICES, MEASUREMENTS, Choice
from dcc.schedules.tuning.workers import Limits
from dcc.targets import cuda
from dcc.targets.cuda_toolchain import find_device_compiler
from dcc.targets.registry import get_target
from dcc.tuning_database import card_identity, look_up

SM90 = get_target("cuda-sm90")
QUICK = Limits(repeats=1, block_milliseconds=1, rounds=1)
TRIALS = 5
pytest.importorskip("xgboost")


def small_model(samples=1):
    """One product with a sparse weight, 70 columns and 40 rows."""
    model, feeds = model_of(
        [node("MatMul", ["x", "w"], ["y"])],
        {"x": data(samples, 70)},
        {"w": weight(70, 40, density=0.2, seed=3)},
    )
    return model, feeds["x"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A database after a few trials by PoCL, the report, the model and its input."""
    pocl.device()
    here = str(Path(__file__).parent)
    folder = tmp_path_factory.mktemp("tuning") / "records"
    model, x = small_model()
    devices = PoclDevices(card_identity(SM90, "PoCL"))
    before = os.environ.get("PYTHONPATH")
    # Worker processes find the tests' modules there.
    os.environ["PYTHONPATH"] = here if before is None else f"{here}{os.pathsep}{before}"
    try:
        report = dcc.tune(model, folder, pocl.opencl_target(), TRIALS, runner=devices, limits=QUICK)
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return folder, report, model, x


def test_candidates_are_built_checked_and_timed(tuned):
    folder, report, _, _ = tuned
    measured = [json.loads(line) for line in (folder / MEASUREMENTS).read_text().splitlines()]
    assert len(measured) == TRIALS
    assert [line["failure"] for line in measured if "failure" in line] == []
    (layer,) = report.layers
    assert layer.trials == TRIALS
    assert layer.ratio >= 1
    assert {"segments", "block_rows"} <= measured[0]["candidate"].keys()


def test_what_was_chosen_is_compiled(tuned, tmp_path):
    """For a card by its compiler; the same choice runs by PoCL."""
    folder, _, model, x = tuned
    choices = json.loads((folder / CHOICES).read_text())
    (key,) = choices
    values = {"form": "sparse", "lanes": 16, "block_rows": 8, "segments": 8, "load_words": 2}
    choices[key]["auto"] = Choice(json.dumps(values), 1.5, TRIALS).__dict__
    for path in folder.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / CHOICES).write_text(json.dumps(choices))
    module = pocl.Module(model, tuned=look_up(tmp_path, SM90))
    [[(_, reason)]] = module.choices.values()
    assert "lanes=16 block_rows=8 segments=8 load_words=2" in reason
    expected = x.astype(np.float64) @ onnx.numpy_helper.to_array(model.graph.initializer[0])
    np.testing.assert_allclose(module({"x": x})[0], expected, rtol=1e-5, atol=1e-5)
    find_device_compiler()
    compiled = dcc.compile(model, tmp_path / "m.so", target="cuda-sm90", database=tmp_path)
    (layer,) = compiled.metadata["layers"]
    assert layer["reason"].startswith("tuned: 1.50x as fast as the default, 5 tried")


@pytest.mark.parametrize("samples", [1, 7, 64])
@pytest.mark.parametrize("form", ["dense", "codebook", "sparse", "huffman"])
def test_spaces(form, samples):
    generator = np.random.default_rng(1)
    matrix = random_weight(generator, 200, 300, 0.1, 16)
    space = search_space(LayerShape("matmul", samples=samples), matrix, SM90, form)
    candidates = list(space)
    assert candidates[0] == space.default
    if (form, samples) != ("dense", 1):
        assert len(candidates) > 3
    names = [tunable.name for tunable in tunables_of(SM90)]
    assert set(names) <= OF_PACKING | OF_KERNEL
    assert len(names) == len(set(names))


def test_without_a_card_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tuning_devices, "find_card", lambda: None)
    model, _ = CASES["gemm"]()
    with pytest.raises(TuningError, match="on a CUDA card, which this machine lacks") as caught:
        dcc.tune(model, tmp_path / "records", target="cuda-sm90")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(cuda, "find_card", lambda: None)
    onnx.save(model, tmp_path / "m.onnx")
    arguments = ["tune", str(tmp_path / "m.onnx"), "--database", str(tmp_path / "records")]
    assert main([*arguments, "--target", "cuda"]) == 2
    said = capsys.readouterr().err.strip()
    assert "'cuda' is the card of this machine, and there is none" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "records").exists()


def test_another_card_is_refused(tmp_path, monkeypatch):
    card = cuda.Card("Old", 8, 0, 108, 40 << 20)
    monkeypatch.setattr(tuning_devices, "find_card", lambda: card)
    model, _ = CASES["gemm"]()
    with pytest.raises(TuningError, match=r"needs compute capability 9.0, the card here \(Old\)"):
        dcc.tune(model, tmp_path / "records", target="cuda-sm90")
