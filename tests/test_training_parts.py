"""Masks, shared weights, the entropy penalty and settings: each against a plain numpy meaning."""

from dataclasses import replace

import numpy as np
import pytest

from dcc.errors import RecipeError
from dcc.passes.options import LayerOptions, Recipe
from dcc.recipes import load_recipe
from dcc.training.settings import (
    PruneSettings,
    TrainingSettings,
    training_settings,
    with_epochs,
)

torch = pytest.importorskip("torch")

from dcc.training.compressed_weight import CompressedWeight  # noqa: E402
from dcc.training.compressible import CompressibleModel  # noqa: E402
from dcc.training.entropy_penalty import assign, code_bits, index_bits  # noqa: E402
from dcc.training.masks import density_at, next_mask  # noqa: E402
from dcc.training.recipe_check import check_layers  # noqa: E402


def weight_of(values, **options):
    parameter = torch.nn.Parameter(torch.tensor(values, dtype=torch.float32))
    return CompressedWeight("w", parameter, LayerOptions(**options))


def generator():
    return torch.Generator().manual_seed(0)


def test_cubic_schedule():
    settings = PruneSettings()
    assert density_at(-1, 0.2, settings) == pytest.approx(1.0)
    assert density_at(0.5, 0.2, settings) == pytest.approx(0.2 + 0.8 / 8)
    assert density_at(2, 0.2, settings) == pytest.approx(0.2)
    assert density_at(0, 0.2, PruneSettings(schedule="once")) == 0.2


@pytest.mark.parametrize("strategy", ["magnitude", "splicing", "drop"])
def test_every_strategy_keeps_as_many_as_it_should(strategy):
    weight = torch.randn(37, 11, generator=generator())
    mask = torch.ones_like(weight, dtype=torch.bool)
    settings = PruneSettings(strategy=strategy)
    for kept, progress in ((300, 0.2), (120, 0.5), (40, 1.0)):
        mask = next_mask(weight, mask, kept, progress, settings, generator())
        assert int(mask.sum()) == kept
    if strategy != "drop":
        smallest_kept = weight[mask].abs().min()
        assert smallest_kept > weight[~mask].abs().max()


def test_only_splicing_brings_connections_back():
    weight = torch.tensor([1.0, 0.95, 0.1])
    mask = torch.tensor([False, True, True])
    stays = next_mask(weight, mask, 1, 1.0, PruneSettings(), generator())
    assert stays.tolist() == [False, True, False]
    # 0.95 counts a tenth more because it is kept; without hysteresis the larger returns.
    kept = next_mask(weight, mask, 1, 1.0, PruneSettings(strategy="splicing"), generator())
    assert kept.tolist() == [False, True, False]
    spliced = PruneSettings(strategy="splicing", hysteresis=0.0)
    assert next_mask(weight, mask, 1, 1.0, spliced, generator()).tolist() == [True, False, False]


def test_gradients_reach_removed_weights_only_when_splicing():
    weight = weight_of([1.0, 2.0, 3.0])
    weight.mask = torch.tensor([True, False, True])
    for splicing, expected in ((False, [1.0, 0.0, 1.0]), (True, [1.0, 1.0, 1.0])):
        weight.splicing, weight.latent.grad = splicing, None
        assert weight.effective().tolist() == [1.0, 0.0, 3.0]
        weight.effective().sum().backward()
        assert weight.latent.grad.tolist() == expected


def test_gradients_of_a_centroid_are_summed():
    values = [0.0, 1.0, 1.1, -2.0, 0.0, 0.9, -2.1, 1.0, 1.05, 0.95] * 8
    weight = weight_of(values, bits=2)
    weight.share(0)
    assert weight.centroids.tolist() == pytest.approx([-2.05, 1.0], abs=1e-6)
    effective = weight.effective()
    assert set(effective.tolist()) == {0.0, *weight.centroids.tolist()}
    gradient = torch.randn(80, generator=generator())
    effective.backward(gradient)
    dense = np.array(values)
    sums = [gradient[dense < 0].sum().item(), gradient[dense > 0].sum().item()]
    assert weight.centroids.grad.tolist() == pytest.approx(sums, rel=1e-5)
    np.testing.assert_allclose(weight.latent.grad, gradient.numpy() * (dense != 0))


def test_weights_in_another_memory_layout_are_shared_alike():
    """``module.to(memory_format=torch.channels_last)``: the same weight and the same gradients."""
    values = torch.randn(8, 3, 3, 3, generator=generator())
    values[values.abs() < 0.5] = 0.0
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = torch.nn.Parameter(values.to(memory_format=layout))
        weight = CompressedWeight("w", parameter, LayerOptions(bits=3))
        weight.share(0)
        (weight.effective() * torch.arange(216.0).reshape(8, 3, 3, 3)).sum().backward()
        found.append((weight.value(), parameter.grad, weight.centroids.grad))
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain)


def test_reassignment_follows_the_weights():
    weight = weight_of([0.0, 1.0, 1.0, -1.0, -1.0] * 16, bits=2)
    weight.share(0)
    with torch.no_grad():
        weight.latent[1] = -0.9
    weight.reassign(0.0)
    assert weight.value()[1] == -1.0
    assert weight.kept == 64


def test_entropy_penalty_is_the_cost_of_the_bits():
    generator = np.random.default_rng(0)
    values = generator.standard_normal(200)
    centroids, counts, density = np.array([-1.0, -0.2, 0.3, 1.5]), np.array([5, 90, 100, 5]), 0.1
    got = assign(*map(torch.tensor, (values, centroids, counts)), penalty=0.02, density=density)
    scale = np.mean(values**2)
    bits = -np.log2(counts / 200) + index_bits(density)
    cost = (values[:, None] - centroids) ** 2 / scale + 0.02 * bits
    expected = np.where(values**2 / scale < cost.min(1), -1, cost.argmin(1))
    np.testing.assert_array_equal(got, expected)
    assert (expected == -1).any()
    assert index_bits(0.5) == pytest.approx(2.0)
    assert code_bits(torch.tensor([1, 1, 2])).tolist() == [2.0, 2.0, 1.0]


def test_weights_without_effect_are_forgotten():
    weight = weight_of([1.0, 2.0, 3.0, 0.0])
    weight.forget(torch.tensor([False, True, False, False]))
    assert weight.value().tolist() == [1.0, 0.0, 3.0, 0.0]
    assert weight.kept == 2


def test_threshold_is_in_standard_deviations():
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    expected = np.mean(np.abs(values) >= 1.5 * values.std())
    assert weight_of(values, threshold=1.5).density == pytest.approx(expected)


def test_a_density_of_the_whole_model_is_divided_by_magnitude():
    module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    with torch.no_grad():
        module[1].weight.mul_(1.5)
    options = LayerOptions(density=0.25, scope="global")
    model = CompressibleModel(
        module, lambda name: options if name.endswith("weight") else LayerOptions()
    )
    model.prune(1.0, PruneSettings(), generator())
    kept = [weight.kept for weight in model.weights.values()]
    assert sum(kept) == 32
    assert 0 < kept[0] < 16 < kept[1]
    smallest = min(weight.value()[weight.mask].abs().min() for weight in model.weights.values())
    assert smallest > max(
        weight.latent.detach()[~weight.mask].abs().max() for weight in model.weights.values()
    )


def test_weights_that_came_pruned_stay_pruned():
    """No density in the recipe: zeros of a matrix are a mask, those of a bias are values."""
    module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 5))
    with torch.no_grad():
        module[0].weight[:, ::2] = 0
        module[0].bias[:] = 0
    model = CompressibleModel(module, lambda _: LayerOptions())
    assert list(model.weights) == ["0.weight"]
    assert model.density == 0.5
    model.prune(1.0, PruneSettings(strategy="splicing"), generator())
    model(torch.ones(3, 6)).sum().backward()
    torch.optim.SGD(module.parameters(), 0.1).step()
    assert bool((module[0].bias != 0).all())
    model.weights["0.weight"].settle()
    assert torch.equal(module[0].weight == 0, torch.arange(6).expand(5, 6) % 2 == 0)
    untouched = CompressibleModel(module, lambda _: LayerOptions(skip=True))
    assert not untouched.weights
    assert untouched.density == 1.0


def test_layers_of_a_recipe_that_match_nothing(caplog):
    module = torch.nn.Linear(3, 2)
    slip = Recipe("slip", layers=(("wieght", {"bits": 2}), ("w.*", {"bits": 2})))

    def model(recipe):
        return CompressibleModel(module, lambda name: recipe.for_layer(name, "Gemm"))

    check_layers(slip, ["weight", "bias"], model(slip))
    assert "recipe 'slip': layer 'wieght' matches no weight that is trained" in caplog.text
    assert "w.*" not in caplog.text
    nothing = replace(slip, layers=slip.layers[:1])
    with pytest.raises(RecipeError, match=r"nothing of this model: .* \(wieght\).* weight, bias;"):
        check_layers(nothing, ["weight", "bias"], model(nothing))
    others = replace(nothing, settings={"bits": 4})
    check_layers(others, ["weight", "bias"], model(others))


def test_structures_that_cannot_be_trained_are_refused():
    with pytest.raises(RecipeError, match="'block' cannot be trained"):
        weight_of([1.0], structure="block", density=0.5)


def test_state_comes_back():
    weight = weight_of([0.0, 1.0, 1.0, -1.0, -1.0] * 16, bits=2)
    weight.share(0)
    other = weight_of([0.0, 1.0, 1.0, -1.0, -1.0] * 16, bits=2)
    other.load(weight.state())
    assert torch.equal(other.value(), weight.value())


def test_settings_and_recipes(tmp_path):
    (tmp_path / "base.yaml").write_text("training: {prune: {epochs: 3}, learning_rate: 0.1}\n")
    (tmp_path / "a.yaml").write_text("extends: base.yaml\ntraining: {prune: {strategy: drop}}\n")
    training = load_recipe(tmp_path / "a.yaml").training
    assert training == {"prune": {"epochs": 3, "strategy": "drop"}, "learning_rate": 0.1}
    assert training_settings(training).prune.epochs == 3
    (tmp_path / "b.yaml").write_text("training:\n  prune: {epoch: 3}\n")
    with pytest.raises(RecipeError, match=r"line 2: unknown key 'training.prune.epoch', did you"):
        load_recipe(tmp_path / "b.yaml")
    with pytest.raises(RecipeError, match=r"training.share.epochs"):
        training_settings({"share": {"epochs": -1}})


def test_epochs_are_spread_over_the_stages():
    settings = training_settings({"prune": {"epochs": 20}, "share": {"epochs": 0}})
    spread = settings.with_epochs(10)
    assert (spread.prune.epochs, spread.retrain.epochs, spread.share.epochs) == (8, 2, 0)
    default = TrainingSettings()
    assert [default.with_epochs(count).epochs for count in range(1, 30)] == list(range(1, 30))
    assert default.with_epochs(default.epochs) == default
    one = default.with_epochs(1)
    assert (one.prune.epochs, one.retrain.epochs, one.share.epochs) == (1, 0, 0)
    few = training_settings({"prune": {"epochs": 50}, "share": {"epochs": 1}}).with_epochs(3)
    assert (few.prune.epochs, few.retrain.epochs, few.share.epochs) == (1, 1, 1)
    empty = {name: {"epochs": 0} for name in ("prune", "retrain", "share")}
    with pytest.raises(RecipeError, match="4 epochs have no stage to go to"):
        training_settings(empty).with_epochs(4)
    stated = {"batch_size": 8, "prune": {"every": 2, "epochs": 4}}
    assert with_epochs(stated, 7) == {
        "batch_size": 8,
        "prune": {"every": 2, "epochs": 2},
        "retrain": {"epochs": 3},
        "share": {"epochs": 2},
    }
    assert with_epochs(stated, None) == stated
