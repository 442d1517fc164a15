"""The parts of the tuner: tunables, spaces, measurements, the choice, the oracle of all layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from coded_models import CASES
from tuning_runs import HOST, small_model, tasks_of
from weights import random_weight

from dcc.codegen.packed import pack
from dcc.codegen.packing import Packing
from dcc.codegen.unpacking import unpack
from dcc.errors import CompileError, TuningError
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunable_values import OF_KERNEL, OF_PACKING, values_of, with_values
from dcc.schedules.tunables import TUNABLES, Tunables
from dcc.schedules.tuning.candidate import Candidate, parse_candidate, search_space
from dcc.schedules.tuning.confirmation import choose
from dcc.schedules.tuning.database import DEVICE, TuningDatabase
from dcc.schedules.tuning.evaluation import check_answer
from dcc.schedules.tuning.layer_key import layer_key
from dcc.schedules.tuning.measurements import Measurement, Measurements, best_of
from dcc.targets.registry import get_target

RANDOM = np.random.default_rng(1)
WEIGHT = random_weight(RANDOM, 48, 64, 0.1, 16)


def test_every_tunable_is_a_field():
    names = [tunable.name for tunable in TUNABLES]
    assert set(names) <= OF_PACKING | OF_KERNEL
    assert len(names) == len(set(names))
    assert all(tunable.meaning for tunable in TUNABLES)


def test_values_by_name():
    tunables = Tunables(Packing(16, sort=True), in_flight=4)
    values = values_of(tunables)
    assert values["sort"] == 1
    assert with_values(Tunables(Packing(1)), values) == tunables
    with pytest.raises(KeyError, match="no tunable lane"):
        with_values(tunables, {"lane": 4})


@pytest.mark.parametrize("storage", ["auto", "dense", "codebook", "sparse", "huffman"])
def test_a_space_begins_with_the_default_and_has_no_conflicts(storage):
    space = search_space(LayerShape("matmul"), WEIGHT, HOST, storage)
    candidates = list(space)
    assert candidates[0] == space.default
    assert len(set(candidates)) == len(candidates)
    assert all(space.conflict(candidate) is None for candidate in candidates)
    if storage != "auto":
        assert {candidate.form for candidate in candidates} == {storage}


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4"])
def test_every_candidate_can_be_laid_out(target):
    space = search_space(LayerShape("matmul"), WEIGHT, get_target(target), "sparse")
    packings = {
        with_values(Tunables(Packing(1)), dict(candidate.values)).packing for candidate in space
    }
    for packing in packings:
        packed = pack(WEIGHT, "sparse", packing)
        np.testing.assert_array_equal(unpack(packed), WEIGHT.decode())


def test_conflicts_have_reasons():
    space = search_space(LayerShape("matmul"), WEIGHT, HOST, "huffman")
    values = dict(space.default.values) | {"window": 7}
    reason = space.conflict(Candidate("huffman", tuple(values.items())))
    assert reason == "the vector unit has no such window"


def test_a_form_that_the_weight_cannot_have_has_no_space():
    raw = random_weight(RANDOM, 8, 8)
    assert search_space(LayerShape("matmul"), raw, HOST, "codebook").forms == {}


def test_candidates_are_read_back():
    candidate = Candidate("huffman", (("lanes", 16), ("code_length", None)))
    assert parse_candidate(candidate.key) == candidate
    assert str(candidate) == "huffman lanes=16 code_length=auto"


def test_layers_alike_share_a_key():
    again = random_weight(np.random.default_rng(2), 48, 64, 0.1, 16)
    shape = LayerShape("matmul")
    assert json.loads(layer_key(shape, again))["density"] == pytest.approx(0.1, abs=0.02)
    assert layer_key(shape, WEIGHT) == layer_key(shape, WEIGHT)
    assert layer_key(shape, WEIGHT) != layer_key(LayerShape("matmul", samples=2), WEIGHT)


def test_measurements_survive_a_torn_line(tmp_path):
    path = tmp_path / "measurements.jsonl"
    written = Measurements(path)
    fast, slow, wrong = (Candidate("sparse", (("lanes", n),)) for n in (16, 8, 4))
    written.add("layer", slow, Measurement((2.0, 3.0, 1.0)))
    written.add("layer", fast, Measurement((1.0,)))
    written.add("layer", wrong, Measurement(failure="wrong answer"))
    with path.open("a") as file:
        file.write('{"layer": "layer", "cand')
    found = Measurements(path)
    assert found.of_layer("layer") == written.of_layer("layer")
    assert best_of(found.of_layer("layer").items()) == [fast, slow]
    found.add("layer", Candidate("dense"), Measurement((5.0,)))
    assert len(Measurements(path).of_layer("layer")) == 4


@pytest.mark.parametrize(
    ("rounds", "winner"),
    [
        ([[1.0, 0.8, 0.7]] * 5, 2),
        ([[1.0, 0.98, 0.99]] * 5, 0),  # too little
        ([[1.0, 0.5]] * 3 + [[1.0, 1.1]] * 2, 0),  # an accident
        ([[1.0, float("inf")]] * 3, 0),
    ],
)
def test_the_default_stays_unless_the_win_is_real(rounds, winner):
    number, ratio = choose(rounds)
    assert number == winner
    assert (ratio > 1) == (winner > 0)


class _Tensor:
    def __init__(self, array):
        self.array = array

    def numpy(self):
        return self.array


def test_answers_are_checked():
    expected = RANDOM.standard_normal((1, 8))
    check_answer(_Tensor(expected.astype(np.float32)), [expected])
    for wrong in (expected + 1e-3, np.full((1, 8), np.nan)):
        with pytest.raises(CompileError, match="wrong answer: off by"):
            check_answer(_Tensor(wrong.astype(np.float32)), [expected])


def test_only_one_process_tunes_into_a_folder(tmp_path):
    database = TuningDatabase(tmp_path, {"a": 1}, create=True)
    other = TuningDatabase(tmp_path, {"a": 1}, create=True)
    with (
        database.locked(),
        pytest.raises(TuningError, match="another process is tuning"),
        other.locked(),
    ):
        pass
    with other.locked():
        pass


def test_damaged_databases(tmp_path):
    TuningDatabase(tmp_path, {"a": 1}, create=True)
    (tmp_path / "choices.json").write_text("[")
    with pytest.raises(TuningError, match=r"choices\.json' cannot be read"):
        TuningDatabase(tmp_path, {"a": 1}, create=False)
    (tmp_path / DEVICE).write_text("{")
    with pytest.raises(TuningError, match=r"device\.json' cannot be read"):
        TuningDatabase(tmp_path, {"a": 1}, create=False)


@pytest.mark.parametrize(
    "case", ["gemm", "conv2d", "conv1d", "gather", "lstm", "gru", "batch_norm"]
)
def test_the_layers_of_every_kind_are_found(case):
    tasks = tasks_of(CASES[case]()[0])
    assert tasks
    for task in tasks:
        data, expected = task.example(0)
        assert len(data) == len(task.layer.data)
        assert all(np.isfinite(each).all() for each in expected)
        assert search_space(task.shape, task.weight, HOST).forms


def test_layers_that_are_alike_are_one_task():
    (task,) = tasks_of(small_model()[0])
    assert task.layers == ["w"]
