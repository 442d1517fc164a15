"""``dcc.torch``: a module and a loader of the user's own, down to a compiled module."""

import numpy as np
import pytest

import dcc
from dcc.passes.options import Recipe

torch = pytest.importorskip("torch")

import dcc.torch  # noqa: E402

torch.set_num_threads(1)  # work this small only waits for other threads

RECIPE = Recipe(
    "mine",
    {"density": 0.3, "bits": 3},
    {"bias": {"density": None, "bits": None}},
    (("0.weight", {"density": 0.6, "bits": 4}),),
    {"learning_rate": 0.01, "prune": {"epochs": 2, "every": 2}, "share": {"epochs": 2}},
)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * 16, 3),
    )


def loader(count, seed, shuffle=True):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    images = torch.randn(count, 1, 6, 6, generator=generator) * 0.5
    images[:, :, 2] += labels[:, None, None] - 1.0
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels), 16, shuffle=shuffle
    )


def train():
    return dcc.torch.finetune(
        network(), loader(240, 1), RECIPE, validation=loader(60, 2, shuffle=False)
    )


@pytest.fixture(scope="module")
def trained():
    return train()


def test_module_is_compressed_in_place(trained):
    for name, density, values in (("0.weight", 0.6, 16), ("4.weight", 0.3, 8)):
        weight = dict(trained.module.named_parameters())[name]
        assert (weight != 0).float().mean() <= density + 0.01
        assert len(weight.unique()) <= values
    assert trained.epochs[-1].accuracy > 80
    assert [report.stage for report in trained.epochs][-2:] == ["share"] * 2


def test_container_computes_what_the_module_does(trained, tmp_path):
    example = torch.randn(1, 1, 6, 6)
    container = trained.compress(tmp_path / "m.dcz", example)
    assert container.recipe["name"] == "mine"
    compiled = dcc.compile(tmp_path / "m.dcz", tmp_path / "m.so").load()
    with torch.no_grad():
        expected = trained.module(example).numpy()
    np.testing.assert_allclose(compiled(example.numpy())[0], expected, atol=1e-5)


def test_the_same_seed_gives_the_same_weights(trained):
    for ours, theirs in zip(train().module.parameters(), trained.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_types_by_which_a_recipe_names_weights():
    types = dcc.torch.operator_types(network())
    assert types == {
        "0.weight": "Conv",
        "0.bias": "bias",
        "1.weight": "bias",
        "1.bias": "bias",
        "4.weight": "Gemm",
        "4.bias": "bias",
    }
