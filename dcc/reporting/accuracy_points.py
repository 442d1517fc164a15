"""Size against accuracy: each stage of the recipe and, beside it, other recipes.

Every accuracy is that of a compiled module of this machine, computing from the weights of that
stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from dcc.accuracy import module_accuracy
from dcc.compression import compress_model
from dcc.container import Container
from dcc.datasets import LabelledData
from dcc.onnx_weights import array_of, weight_tensors
from dcc.passes.options import Recipe
from dcc.progress import track
from dcc.recipes import load_recipe
from dcc.reporting.builds import Builds
from dcc.reporting.facts import AUTO, Point, Stage
from dcc.targets.registry import get_target

_NO_ORIGINAL = "a container no longer holds the weights of this stage"


def stages_with_accuracy(
    stages: Sequence[Stage],
    builds: Builds,
    data: LabelledData,
    model: onnx.ModelProto | None,
    recipe: Recipe | None,
) -> list[Stage]:
    """Add the accuracies to ``stages``.

    Parameters
    ----------
    model, recipe
        What the container was made from; None where only the container is there.
    """
    host = get_target("host")
    coded = {
        "shared": module_accuracy(builds.module(host, AUTO).load(), data),
        "huffman": module_accuracy(builds.module(host, "huffman").load(), data),
    }
    if model is not None and recipe is not None:
        dense, pruned = load_recipe("dense"), without_sharing(recipe)
        coded["dense"] = module_accuracy(builds.other(model, dense).load(), data)
        container = compress_model(model, pruned, builds.shapes)
        same = _same_weights(model, container)
        coded["pruned"] = (
            coded["dense"] if same else module_accuracy(builds.other(container, None).load(), data)
        )
    return [
        replace(stage, accuracy=coded[stage.name])
        if stage.name in coded
        else replace(stage, note=_NO_ORIGINAL)
        for stage in stages
    ]


def stage_points(stages: Sequence[Stage]) -> list[Point]:
    """Make the points of the stages; their bytes are those of all weights."""
    return [
        Point(stage.name, "stage", stage.bytes["total"], stage.accuracy)
        for stage in stages
        if stage.accuracy is not None
    ]


def recipe_points(
    names: Sequence[str], builds: Builds, data: LabelledData, model: onnx.ModelProto
) -> list[Point]:
    """Compress by other recipes and measure."""
    points = []
    for name in track("comparing recipes", list(names)):
        container = compress_model(model, load_recipe(name), builds.shapes)
        size = sum(storage.total for storage in container.nbytes().tensors.values())
        accuracy = module_accuracy(builds.other(container, None).load(), data)
        points.append(Point(load_recipe(name).name, "recipe", size, accuracy))
    return points


def without_sharing(recipe: Recipe) -> Recipe:
    """Return ``recipe`` with its pruning alone: weights keep their values."""
    free = {"bits": None}
    return replace(
        recipe,
        settings={**recipe.settings, **free},
        operator_types={name: {**each, **free} for name, each in recipe.operator_types.items()},
        layers=tuple((name, {**each, **free}) for name, each in recipe.layers),
    )


def _same_weights(model: onnx.ModelProto, container: Container) -> bool:
    """Whether pruning changed nothing."""
    return all(
        np.array_equal(array_of(tensor, name), container.tensors[name].decode())
        for name, tensor in weight_tensors(model).items()
    )
