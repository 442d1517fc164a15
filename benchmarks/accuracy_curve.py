"""Ratio against accuracy, stage by stage: prune; prune and share; all three (Han et al., figure 6).

    python benchmarks/accuracy_curve.py MODEL.onnx --data DATA --recipe lenet-5 --output curve.png

One training for each factor by which the densities of the recipe are multiplied. The ratio after
pruning counts relative indices and raw values, that of sharing fixed-width codes and indices, and
that of all three is the whole ``.dcz`` file's. Accuracy is that of the compiled modules on the test
split; the splits and seeds are those of `dcc finetune`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dcc
from dcc.cli.console import print_table
from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.codegen.relative_index import to_entries
from dcc.container import Container
from dcc.passes.options import Recipe
from dcc.recipes import load_recipe

FACTORS = (0.6, 1.0, 1.6, 2.5, 4.0)
STAGES = ("prune", "prune + share", "prune + share + Huffman")


def main() -> None:
    """Train at each density, print the points and plot them."""
    parser = argparse.ArgumentParser(description="Ratio against accuracy, stage by stage")
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="lenet-5")
    parser.add_argument("--factors", type=float, nargs="+", default=list(FACTORS))
    parser.add_argument("--epochs", type=int, help="of each training, instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("curve.png"))
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    points = []
    for factor in arguments.factors:
        points.append(train(arguments, scaled(recipe, factor)))
        print(f"densities x {factor:g}: {points[-1]}", flush=True)
    rows = [
        (f"{factor:g}", *(f"{ratio:.1f}x, {accuracy:.2f} %" for ratio, accuracy in point), "")
        for factor, point in zip(arguments.factors, points, strict=True)
    ]
    print_table(f"{arguments.model.name}, {arguments.recipe}", ("densities x", *STAGES, ""), rows)
    plot(points, arguments.model.stem, arguments.output)


def train(arguments: argparse.Namespace, recipe: Recipe) -> list[tuple[float, float]]:
    """(Ratio, accuracy in percent) after each stage."""
    share = dict(recipe.training.get("share", {}))
    pruned = dcc.finetune(
        arguments.model,
        arguments.data,
        recipe=without(recipe, share={"epochs": 0}),
        epochs=arguments.epochs,
        seed=arguments.seed,
    )
    only_share = without(recipe, prune={"epochs": 0}, retrain={"epochs": 0}, share=share)
    shared = dcc.finetune(
        pruned.container.to_onnx(), arguments.data, recipe=only_share, seed=arguments.seed
    )
    dense = pruned.dense_bytes
    return [
        (dense / pruned.bytes, pruned.accuracy),
        (dense / plain_bytes(shared.container), shared.accuracy),
        (dense / shared.bytes, shared.accuracy),
    ]


def scaled(recipe: Recipe, factor: float) -> Recipe:
    """``recipe`` with its densities multiplied, to 1 at most."""

    def settings(stated: Mapping[str, Any]) -> dict[str, Any]:
        density = stated.get("density")
        return (
            dict(stated) if density is None else {**stated, "density": min(density * factor, 1.0)}
        )

    return dataclasses.replace(
        recipe,
        settings=settings(recipe.settings),
        operator_types={name: settings(value) for name, value in recipe.operator_types.items()},
        layers=tuple((name, settings(value)) for name, value in recipe.layers),
    )


def without(recipe: Recipe, **stages: dict[str, Any]) -> Recipe:
    """``recipe`` with other settings for these stages."""
    return dataclasses.replace(recipe, training={**recipe.training, **stages})


def plain_bytes(container: Container) -> int:
    """Bytes of the file if codes and indices had fixed widths."""
    sizes = container.nbytes()
    saved = sum(
        _plain(tensor) - sizes.tensors[name].weights - sizes.tensors[name].indices
        for name, tensor in container.tensors.items()
        if tensor.codes is not None
    )
    return sizes.total + saved


def _plain(tensor: EncodedTensor) -> int:
    assert tensor.codebook is not None
    bits = max((len(tensor.codebook) - 1).bit_length(), 1)
    if tensor.mask is None:
        return -(-tensor.size * bits // 8)
    positions = tensor.mask.ravel().nonzero()[0]
    widths = range(1, 13)
    counts = {width: len(to_entries(positions, tensor.size, width)[0]) for width in widths}
    return min(-(-count * (width + bits) // 8) for width, count in counts.items())


def plot(points: list[list[tuple[float, float]]], title: str, path: Path) -> None:
    """Draw a line for each stage."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for index, stage in enumerate(STAGES):
        ratios, accuracies = zip(*sorted(point[index] for point in points), strict=True)
        axes.plot(ratios, accuracies, marker="o", label=stage)
    axes.set_xscale("log")
    axes.set_xlabel("times smaller than the ONNX file")
    axes.set_ylabel("accuracy on the test split, %")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
