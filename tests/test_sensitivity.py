"""Sensitivity by layer, and the recipes that are found by it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from training_cases import fitted_network, hard_samples

from dcc.cli.main_group import main_group
from dcc.compression import compress_model
from dcc.datasets import LabelledData
from dcc.errors import RecipeError
from dcc.onnx_weights import array_of, weight_tensors
from dcc.passes.options import Recipe
from dcc.recipe_writing import pattern_of, recipe_yaml
from dcc.recipes import load_recipe

torch = pytest.importorskip("torch")
from dcc.training.layer_choices import LayerChoice, compressed  # noqa: E402
from dcc.training.recipe_search import _Curve, find_recipe, search_recipe  # noqa: E402
from dcc.training.sensitivity import (  # noqa: E402
    Evaluator,
    LayerSensitivity,
    SensitivityPoint,
    sensitivity_of,
)


@pytest.fixture(scope="module")
def measured():
    torch.set_num_threads(1)
    model = fitted_network()
    evaluator = Evaluator(model, LabelledData(*hard_samples(300, 0)), samples=200)
    return model, evaluator, sensitivity_of(model, evaluator, (0.5, 0.2, 0.05, 0.01), (8, 4, 2, 1))


def test_points(measured):
    sensitivity = measured[2]
    assert sensitivity.accuracy > 95
    assert sensitivity.samples == 200
    assert [layer.name for layer in sensitivity.layers] == ["w1", "b1", "w2"]  # b2: too small
    for layer in sensitivity.layers:
        pruned, shared = layer.by_density(), layer.by_bits()
        assert pruned[0].drop == 0
        assert [p.bits for p in shared] == [8, 4, 2, 1]
        assert [p.density for p in pruned] == (
            [1.0] if layer.operator_type == "bias" else [1.0, 0.5, 0.2, 0.05, 0.01]
        )
        assert pruned[-1].bytes <= pruned[0].bytes
    worst = max(point.drop for layer in sensitivity.layers for point in layer.points)
    assert worst > 5


def test_choices_are_what_the_passes_make(measured):
    """Density and bits of a layer, by the passes and by the search: the same values."""
    model = measured[0]
    choice = LayerChoice(0.2, 3)
    recipe = Recipe("one", layers=(("w1", choice.settings()),))
    expected = compress_model(model, recipe).tensors["w1"]
    found = compressed(array_of(weight_tensors(model)["w1"]), choice)
    np.testing.assert_array_equal(found.decode(), expected.decode())
    assert found.nbytes().total == expected.nbytes().total


def test_a_larger_drop_gives_a_smaller_file(measured):
    found = [find_recipe(*measured, max_drop=drop) for drop in (0.0, 2.0, 20.0)]
    assert [each.drop <= limit for each, limit in zip(found, (0, 2, 20), strict=True)] == [True] * 3
    ratios = [each.ratio for each in found]
    assert ratios == sorted(ratios)
    assert ratios[0] < ratios[2]


def test_a_ratio_is_reached_and_not_by_far(measured):
    found = find_recipe(*measured, target_ratio=8)
    assert 8 <= found.ratio < 10
    assert find_recipe(*measured, target_ratio=8, margin=1.2).ratio >= 9.6
    highest = find_recipe(*measured, target_ratio=8, margin=100).ratio
    with pytest.raises(RecipeError, match=f"out of reach: .* give {highest:.1f}"):
        find_recipe(*measured, target_ratio=highest + 0.1)
    with pytest.raises(RecipeError, match="out of reach"):
        find_recipe(*measured, target_ratio=5000)
    with pytest.raises(RecipeError, match=r"costs .* points of accuracy without retraining"):
        find_recipe(*measured, target_ratio=12, max_drop=0)
    with pytest.raises(RecipeError, match="--max-drop, --target-ratio or both"):
        find_recipe(*measured)


def test_densities_that_save_nothing_are_passed_over():
    """A layer that is pruned already: what follows its own density stands beside fewer bits."""
    weight = np.random.default_rng(0).standard_normal((40, 50)).astype(np.float32)
    weight[np.abs(weight) < 1.3] = 0  # a fifth is left
    choices = [LayerChoice(density) for density in (1.0, 0.7, 0.5, 0.35, 0.1)]
    choices += [LayerChoice(1.0, bits) for bits in (4, 1)]
    points = [SensitivityPoint(c.density, c.bits, 90, 0, 0.1, 0) for c in choices]
    curve = _Curve(LayerSensitivity("w", "Gemm", weight.shape, points), weight)
    assert curve.further(LayerChoice()) == [LayerChoice(0.1), LayerChoice(1.0, 4)]
    assert curve.further(LayerChoice(0.1, 1)) == []


def test_before_retraining_more_may_be_lost(measured, monkeypatch):
    from dcc.training import recipe_search

    model, evaluator, sensitivity = measured
    monkeypatch.setattr(recipe_search, "Evaluator", lambda *_: evaluator)
    monkeypatch.setattr(recipe_search, "sensitivity_of", lambda *_: sensitivity)
    splits = SimpleNamespace(validation=None)
    hard = search_recipe(model, splits, max_drop=0.5)
    mild = search_recipe(model, splits, max_drop=0.5, retraining=False)
    assert find_recipe(*measured, max_drop=0.5).recipe == mild
    sizes = [len(compress_model(model, recipe).to_bytes()) for recipe in (hard, mild)]
    assert sizes[0] < sizes[1]


def test_a_written_recipe_is_read_again(tmp_path):
    recipe = Recipe(
        "r",
        {"bits": 4, "structure": "block", "block": (1, 4)},
        {"Conv": {"density": 0.5}},
        (("a.w", {"bits": None}), (pattern_of("a+*"), {"skip": True})),
    )
    (tmp_path / "r.yaml").write_text(recipe_yaml(recipe, "text: with a colon"))
    read = load_recipe(tmp_path / "r.yaml")
    for name in ("a.w", "a+*", "other"):
        assert read.for_layer(name, "Conv") == recipe.for_layer(name, "Conv")


def test_command(tmp_path, capsys, caplog):
    pytest.importorskip("matplotlib")
    onnx.save(fitted_network(), tmp_path / "m.onnx")
    x, y = hard_samples(600, 0)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    arguments = [
        "sensitivity", str(tmp_path / "m.onnx"), "--data", str(tmp_path / "d.npz"), "--plot", str(tmp_path / "p.png"),
        "--json", str(tmp_path / "s.json"), "--max-drop", "4", "-o", str(tmp_path / "m.dcz"),
        "--recipe-output", str(tmp_path / "r.yaml"),
    ]  # fmt: skip
    main_group(arguments, standalone_mode=False)
    assert "38 validation samples are few: one is 2.63 points" in caplog.text
    assert "compiled module on" in capsys.readouterr().out
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["recipe"]["bytes"] == (tmp_path / "m.dcz").stat().st_size
    assert load_recipe(tmp_path / "r.yaml").layers
    with pytest.raises(RecipeError, match="no recipe to write"):
        main_group([*arguments[:4], "-o", str(tmp_path / "n.dcz")], standalone_mode=False)


def test_finetuning_learns_by_a_recipe_that_is_found(monkeypatch):
    """Limits without a recipe: the search says how much, the default recipe how to learn."""
    from dcc.training import finetuning, recipe_search

    found = Recipe("found", layers=(("w", {"density": 0.1}),))
    monkeypatch.setattr(recipe_search, "search_recipe", lambda *_, **limits: found)
    chosen = finetuning._recipe(None, None, None, 0.5, None)
    assert chosen.layers == found.layers
    assert chosen.training == load_recipe("finetune").training
    assert finetuning._recipe(None, None, None, None, None) == load_recipe("finetune")
