"""Training from end to end on tiny models: bytes, resumption, interruption, the command line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from training_cases import CLASSES, network, samples

import dcc
from dcc.__main__ import main
from dcc.datasets import LabelledData
from dcc.errors import InputError, OutputError, RecipeError
from dcc.passes.options import Recipe
from dcc.recipes import load_recipe

torch = pytest.importorskip("torch")

from dcc.training.data import Splits  # noqa: E402
from dcc.training.onnx_training import OnnxTraining  # noqa: E402

torch.set_num_threads(1)  # work this small only waits for other threads

STAGES = {"prune": {"epochs": 2, "every": 2}, "retrain": {"epochs": 2}, "share": {"epochs": 3}}
RECIPE = Recipe(
    "tiny",
    {"density": 0.25, "bits": 3},
    {"bias": {"density": None, "bits": None}},
    training={"batch_size": 16, "learning_rate": 0.01, **STAGES},
)


@pytest.fixture(scope="module")
def splits():
    parts = [LabelledData(*samples(count, seed)) for seed, count in enumerate((240, 80, 80))]
    return Splits(*parts, "made up")


def train(splits, seed=0, recipe=RECIPE, **options):
    training = OnnxTraining(network(), splits, recipe, None, seed)
    training.train(**options)
    return training


def trained_bytes(training):
    return training.result().SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def result(splits):
    return dcc.finetune(network(), splits, recipe=RECIPE)


@pytest.fixture(scope="module")
def whole(splits):
    return train(splits)


def test_the_network_learns_and_keeps_what_the_recipe_says(result):
    assert result.dense_accuracy < 60
    assert result.accuracy > 95
    assert [report.stage for report in result.epochs] == ["prune"] * 2 + ["retrain"] * 2 + [
        "share"
    ] * 3
    for name in ("w1", "w2"):
        tensor = result.container.tensors[name]
        assert tensor.density <= 0.25 + 1e-6
        assert len(tensor.codebook) <= 8
    assert result.container.recipe["name"] == "tiny"
    assert result.bytes == len(result.container.to_bytes())
    # The graph's overhead and the rounding of the projection aside, what was foretold comes true.
    assert abs(result.epochs[-1].projected_bytes - result.bytes) < 64


def test_the_same_seed_gives_the_same_bytes(splits, whole, result):
    assert trained_bytes(train(splits)) == trained_bytes(whole)
    assert trained_bytes(train(splits, seed=1)) != trained_bytes(whole)
    stored = result.container.to_onnx().graph.initializer
    assert {w.name: w.raw_data for w in stored} == {
        w.name: w.raw_data for w in whole.result().graph.initializer
    }


class _Stop(Exception):
    pass


@pytest.mark.parametrize("epochs", [1, 3, 5, 7])
def test_resuming_gives_the_bytes_of_the_uninterrupted_training(splits, whole, tmp_path, epochs):
    checkpoint = tmp_path / "checkpoint"
    reports = []

    def stop(report):
        reports.append(report)
        if len(reports) == epochs + 1:
            raise _Stop

    if epochs < 7:
        with pytest.raises(_Stop):
            train(splits, checkpoint=checkpoint, on_epoch=stop)
    else:
        train(splits, checkpoint=checkpoint)
    resumed = train(splits, checkpoint=checkpoint, resume=True)
    assert trained_bytes(resumed) == trained_bytes(whole)
    assert resumed.reports == whole.reports


def test_checkpoints_of_others_are_refused(splits, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(InputError, match="no checkpoint"):
        train(splits, checkpoint=checkpoint, resume=True)
    checkpoint.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a checkpoint"):
        train(splits, checkpoint=checkpoint, resume=True)
    train(splits, checkpoint=checkpoint)
    with pytest.raises(InputError, match="another training: seed was 0, now it is 1"):
        train(splits, checkpoint=checkpoint, resume=True, seed=1)
    other = Splits(splits.train, splits.test, splits.test, splits.source)
    with pytest.raises(InputError, match="another training: content of the data differs"):
        train(other, checkpoint=checkpoint, resume=True)
    longer = replace(RECIPE, training={**RECIPE.training, "retrain": {"epochs": 5}})
    with pytest.raises(InputError, match=r"training: training.retrain.epochs was 2, now it is 5\."):
        train(splits, checkpoint=checkpoint, resume=True, recipe=longer)


@pytest.mark.parametrize("stage", ["prune", "retrain", "share"])
def test_each_stage_alone(splits, stage):
    others = {name: {"epochs": 0} for name in STAGES if name != stage}
    training = {**RECIPE.training, **others}
    recipe = Recipe("one", RECIPE.settings, RECIPE.operator_types, training=training)
    training = train(splits, recipe=recipe)
    assert {report.stage for report in training.reports} == {stage}
    (weight,) = [w for w in training.result().graph.initializer if w.name == "w1"]
    values = onnx.numpy_helper.to_array(weight)
    assert ((values != 0).mean() < 0.3) == (stage == "prune")
    assert (len(np.unique(values)) <= 8) == (stage == "share")
    assert training.validation() > training.dense_validation + 10


@pytest.mark.parametrize(
    "change",
    [
        {"prune": {"epochs": 3, "strategy": "drop", "every": 2}},
        {"prune": {"epochs": 3, "strategy": "splicing", "every": 2}},
        {"prune": {"epochs": 2, "schedule": "once"}},
        {"share": {"epochs": 3, "entropy": 0.02}},
        {"share": {"epochs": 2, "reassign": False}},
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"distillation": 0.3},
    ],
    ids=lambda change: str(next(iter(change.values()))),
)
def test_every_choice_trains(splits, change):
    merged = {**RECIPE.training, **change}
    recipe = Recipe("x", RECIPE.settings, RECIPE.operator_types, (), merged)
    training = train(splits, recipe=recipe)
    assert training.validation() > (40 if "distillation" in change else 80)
    assert training.model.density <= 0.26


def test_a_training_that_diverges_says_so(splits):
    recipe = Recipe("x", RECIPE.settings, training={"optimizer": "sgd", "learning_rate": 1e9})
    with pytest.raises(RecipeError, match=r"diverged: loss nan in epoch \d+ of 'prune'; .*rate"):
        train(splits, recipe=recipe)


def test_test_split_is_never_trained_or_selected_on(splits, whole):
    wrong = LabelledData(splits.test.samples, (splits.test.labels + 1) % CLASSES)
    other = train(Splits(splits.train, splits.validation, wrong, "made up"))
    assert trained_bytes(other) == trained_bytes(whole)
    assert other.dense_accuracy != whole.dense_accuracy


@pytest.fixture
def uncompiled(monkeypatch):
    """The accuracy of the compiled module is measured by another test."""
    monkeypatch.setattr("dcc.training.finetuning.compiled_accuracy", lambda *_: 99.0)


@pytest.fixture
def files(tmp_path):
    onnx.save(network(), tmp_path / "net.onnx")
    x, y = samples(300, 0)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    (tmp_path / "r.yaml").write_text(
        "global: {density: 0.25, bits: 3}\noperators: {bias: {density: null, bits: null}}\n"
        "training: {batch_size: 16, learning_rate: 0.01, prune: {epochs: 2, every: 2},"
        " retrain: {epochs: 1}, share: {epochs: 1}}\n"
    )
    return tmp_path


def command(folder, *more):
    paths = {name: str(folder / name) for name in ("net.onnx", "data.npz", "r.yaml", "out.dcz")}
    return [
        *("finetune", paths["net.onnx"], "--data", paths["data.npz"]),
        *("-o", paths["out.dcz"], "--recipe", paths["r.yaml"], *more),
    ]


def test_command(files, capsys):
    more = ("--json", str(files / "r.json"), "--recipe-output", str(files / "again.yaml"))
    assert main(command(files, "--max-drop", "1", *more)) == 0
    text = capsys.readouterr().out
    assert "prune      1 of 2: loss" in text
    assert "density" in text
    assert "220 to train, 20 to validate, 60 to test (a fifth held out to test, seed 0" in text
    assert "on the test split, by the compiled module" in text
    assert not (files / "out.dcz.checkpoint").exists()
    assert '"ratio"' in (files / "r.json").read_text()
    again = load_recipe(files / "again.yaml")
    for name in ("w1", "b1"):
        kind = "bias" if name == "b1" else "Gemm"
        assert again.for_layer(name, kind) == load_recipe(files / "r.yaml").for_layer(name, kind)
    assert again.training == load_recipe(files / "r.yaml").training


def test_a_limit_that_does_not_hold(files, capsys, uncompiled):
    assert main(command(files, "--target-ratio", "500", "--epochs", "2")) == 1
    assert "NOT reached" in capsys.readouterr().out


def test_what_cannot_be_written_is_refused_before_training(files, capsys, monkeypatch):
    import dcc.training.onnx_training as training

    monkeypatch.setattr(training.OnnxTraining, "train", lambda *_: pytest.fail("it trained"))
    for option in ("-o", "--checkpoint", "--recipe-output", "--json"):
        assert main(command(files, option, str(files / "none" / "file"))) == 2
        assert f"there is no folder {files / 'none'}" in capsys.readouterr().err
    for names in ({"output": files / "none" / "o"}, {"checkpoint": files / "none" / "c"}):
        with pytest.raises(OutputError, match="there is no folder"):
            dcc.finetune(files / "net.onnx", files / "data.npz", **names)


def test_limits_that_nothing_holds_to_are_refused(files, capsys):
    for option, value in (("--max-drop", "-1"), ("--target-ratio", "0")):
        assert main(command(files, option, value)) == 2
        assert f"'{option}'" in capsys.readouterr().err
    for limits in ({"max_drop": -1}, {"target_ratio": -3.0}, {"max_drop": float("nan")}):
        with pytest.raises(RecipeError, match=f"{next(iter(limits))} is .*; expected"):
            dcc.finetune(files / "net.onnx", files / "data.npz", **limits)


def test_the_written_recipe_has_the_epochs_that_were_run(files, capsys, uncompiled):
    (files / "out.dcz.checkpoint").write_bytes(b"of an earlier training")
    again = files / "again.yaml"
    assert main(command(files, "--epochs", "5", "--recipe-output", str(again))) == 0
    captured = capsys.readouterr()
    assert "writes over it, --resume would go on from it" in captured.err
    assert captured.out.count(": loss") == 5
    stages = load_recipe(again).training
    assert [stages[name]["epochs"] for name in ("prune", "retrain", "share")] == [3, 1, 1]
    assert stages["prune"]["every"] == 2


def test_interruption_leaves_a_checkpoint(files, capsys, monkeypatch, uncompiled):
    import dcc.cli.finetuning as command_line

    shown = command_line.print_epoch

    def interrupt(report):
        shown(report)
        if report.stage == "retrain":
            raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "print_epoch", interrupt)
    assert main(command(files)) == 130
    assert "--resume goes on" in capsys.readouterr().err
    monkeypatch.setattr(command_line, "print_epoch", shown)
    assert main(command(files, "--resume")) == 0
    resumed = (files / "out.dcz").read_bytes()
    assert main(command(files)) == 0
    assert resumed == (files / "out.dcz").read_bytes()


def test_without_torch_the_extra_is_named(files, capsys, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    assert main(command(files)) == 2
    assert "pip install '.[train]' in dcc's source tree" in capsys.readouterr().err
    assert not Path(files / "out.dcz").exists()
