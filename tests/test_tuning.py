"""``dcc.tune`` from end to end on a small layer: default first, resume, what ``compile`` reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from tuning_runs import small_model

import dcc
from dcc.errors import TuningError
from dcc.schedules.tuning.database import CHOICES, DEVICE, MEASUREMENTS, RECORDS, Choice
from dcc.schedules.tuning.workers import Limits

QUICK = Limits(repeats=3, block_milliseconds=1, rounds=3)
TRIALS = 6


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A database after a few trials, the report, and the model."""
    folder = tmp_path_factory.mktemp("tuning") / "database"
    model, x = small_model()
    report = dcc.tune(model, folder, trials=TRIALS, limits=QUICK)
    return folder, report, model, x


def lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_trials_and_report(tuned):
    folder, report, _, _ = tuned
    measured = lines(folder / MEASUREMENTS)
    assert len(measured) == TRIALS
    assert len({json.dumps(line["candidate"]) for line in measured}) == TRIALS
    (layer,) = report.layers
    assert layer.layers == ["w"]
    assert layer.trials == TRIALS
    assert layer.ratio >= 1
    assert report.stopped is None
    assert len((folder / RECORDS).read_text().splitlines()) == TRIALS - len(layer.failures)
    # The default schedule is tried before all others.
    assert layer.default.split()[0] == measured[0]["candidate"]["form"]


def test_the_same_command_measures_nothing_twice(tuned):
    folder, _, model, _ = tuned
    before = (folder / MEASUREMENTS).read_text()
    report = dcc.tune(model, folder, trials=TRIALS, limits=QUICK)
    assert (folder / MEASUREMENTS).read_text() == before
    assert report.layers[0].trials == TRIALS


def test_more_trials_go_on_from_what_is_known(tuned):
    folder, _, model, _ = tuned
    before = lines(folder / MEASUREMENTS)
    report = dcc.tune(model, folder, trials=TRIALS + 2, limits=QUICK)
    after = lines(folder / MEASUREMENTS)
    assert after[: len(before)] == before
    assert len({json.dumps(line["candidate"]) for line in after}) == len(after) == TRIALS + 2
    assert report.layers[0].trials == TRIALS + 2


def test_compile_builds_what_was_chosen(tuned, tmp_path):
    folder, _, model, x = tuned
    choices = json.loads((folder / CHOICES).read_text())
    (key,) = choices
    form = "sparse"
    forced = Choice(json.dumps({"form": form, "lanes": 8, "sort": 0, "window": 0}), 1.25, TRIALS)
    choices[key]["auto"] = forced.__dict__
    other = tmp_path / "database"
    other.mkdir()
    for name in (DEVICE, MEASUREMENTS):
        (other / name).write_text((folder / name).read_text())
    (other / CHOICES).write_text(json.dumps(choices))
    module = dcc.compile(model, database=other)
    (layer,) = module.metadata["layers"]
    assert layer["form"] == form
    assert "tuned: 1.25x as fast as the default" in layer["reason"]
    assert "lanes=8 sort=0 window=0" in layer["reason"]
    expected = x.astype(np.float64) @ onnx.numpy_helper.to_array(model.graph.initializer[0])
    np.testing.assert_allclose(module(x)[0], expected, rtol=1e-5, atol=1e-5)
    (layer,) = dcc.compile(model, database=other, storage="huffman").metadata["layers"]
    assert layer["reason"].startswith("not tuned: this layer is tuned with storage 'auto' only")
    denser, _ = small_model(density=0.6)
    (layer,) = dcc.compile(denser, database=other).metadata["layers"]
    assert layer["reason"].startswith("not tuned: this layer is not in the database")


@pytest.mark.parametrize(
    ("part", "key", "said"),
    [
        ("device", "processor", "device processor was 'another'"),
        ("target", "name", "target name was 'another'"),
        ("versions", "kernels", "versions kernels was 'another'"),
        ("versions", "tvm", "versions tvm was 'another'"),
    ],
)
def test_a_database_from_elsewhere_is_refused(tuned, tmp_path, part, key, said):
    folder, _, model, _ = tuned
    identity = json.loads((folder / DEVICE).read_text())
    identity[part][key] = "another"
    (tmp_path / DEVICE).write_text(json.dumps(identity))
    for use in (lambda: dcc.compile(model, database=tmp_path), lambda: dcc.tune(model, tmp_path)):
        with pytest.raises(TuningError, match=said):
            use()


def test_no_database(tmp_path):
    with pytest.raises(TuningError, match="is no tuning database"):
        dcc.compile(small_model()[0], database=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"runner": "ssh"}, "unknown runner 'ssh'"),
        ({"runner": "rpc"}, "needs the tracker's address"),
        ({"tracker": "a:1"}, "need the runner 'rpc'"),
        ({"runner": "rpc", "tracker": "nowhere", "key": "k"}, "expected HOST:PORT"),
        ({"trials": 0}, "trials is 0"),
    ],
)
def test_wrong_options(tmp_path, options, said):
    with pytest.raises(TuningError, match=said):
        dcc.tune(small_model()[0], tmp_path, **options)


def test_interrupted(tmp_path):
    """Ctrl-C keeps what was found; workers do not record what it cut off; the search goes on."""
    model = tmp_path / "model.onnx"
    onnx.save(small_model()[0], model)
    folder = tmp_path / "database"
    command = [sys.executable, "-m", "dcc", "tune", str(model), "--database", str(folder)]
    process = subprocess.Popen(
        [*command, "--trials", "200"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
    )
    end = time.monotonic() + 120
    while not (folder / MEASUREMENTS).exists() and time.monotonic() < end:
        time.sleep(0.1)
    # As a terminal does it: to every process of the group.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "stopped: interrupted; the same command goes on" in output
    measured = lines(folder / MEASUREMENTS)
    assert 1 <= len(measured) < 200
    assert all("failure" not in line for line in measured)
    report = dcc.tune(model, folder, trials=len(measured), limits=QUICK)
    assert report.stopped is None
    assert lines(folder / MEASUREMENTS) == measured
    (choices,) = json.loads((folder / CHOICES).read_text()).values()
    assert choices["auto"]["confirmed"]
