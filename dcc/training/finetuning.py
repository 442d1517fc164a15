"""``finetune``: prune, retrain and share an ONNX model on labelled data, then compress it."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from dcc.compression import compress, describe_recipe
from dcc.container import Container
from dcc.files import check_writable, refuse_same_file
from dcc.onnx_weights import load_model
from dcc.passes.options import Recipe
from dcc.recipes import load_recipe
from dcc.training.outcome import Finetuning, check_limits, compiled_accuracy
from dcc.training.torch_extra import require_torch

if TYPE_CHECKING:
    from dcc.training.data import Splits
    from dcc.training.epoch_report import OnEpoch

DEFAULT_RECIPE = "finetune"


def finetune(
    model: str | PathLike[str] | onnx.ModelProto,
    data: str | PathLike[str] | Splits,
    output: str | PathLike[str] | None = None,
    recipe: str | PathLike[str] | Recipe | None = None,
    *,
    test: str | PathLike[str] | None = None,
    scale: float | None = None,
    epochs: int | None = None,
    max_drop: float | None = None,
    target_ratio: float | None = None,
    seed: int = 0,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Finetuning:
    """Compress a model and train what is left, so that it keeps its accuracy.

    The same seed on the same machine gives the same bytes. On the CPU, or on the GPU that torch
    sees.

    Parameters
    ----------
    model
        Path of an ONNX file with one input, or the model itself.
    data
        A folder of IDX files, an ``.npz`` file (see :func:`dcc.training.data.read_splits`), or
        splits of your own.
    output
        Where the ``.dcz`` is written; None writes nothing.
    recipe
        Name of a built-in recipe, path of a YAML file, or a recipe. None: one is searched that
        keeps ``max_drop`` and ``target_ratio`` where one of them is given, else ``finetune``.
    test, scale
        Data to test on; a divisor of the samples.
    epochs
        In all, instead of the recipe's: spread over its stages in proportion.
    max_drop
        Percentage points of accuracy that may be lost.
    target_ratio
        How many times smaller than the ONNX file the container should be.
    checkpoint
        File that is written after each epoch.
    resume
        Go on from ``checkpoint``.
    on_epoch
        Called with what each epoch came to.

    Raises
    ------
    DccError
        PyTorch is missing, an operator cannot be trained (it is named), data, recipe, limits or
        checkpoint are wrong, or a file could not be written.
    """
    require_torch("training")
    from dcc.training.data import read_splits
    from dcc.training.onnx_training import OnnxTraining

    check_limits(max_drop, target_ratio)
    for path in (output, checkpoint):
        if path is not None:
            check_writable(path)
    if output is not None and not isinstance(model, onnx.ModelProto):
        refuse_same_file(output, model)
    proto = model if isinstance(model, onnx.ModelProto) else load_model(Path(model))
    if isinstance(data, (str, PathLike)):
        splits = read_splits(Path(data), None if test is None else Path(test), scale)
    else:
        splits = data
    chosen = _recipe(recipe, proto, splits, max_drop, target_ratio)
    training = OnnxTraining(proto, splits, chosen, epochs, seed)
    training.train(None if checkpoint is None else Path(checkpoint), resume, on_epoch)
    # Zeros and values are exact by now: compressing without loss finds masks and codebooks again.
    found = compress(training.result(), recipe="lossless")
    container = Container(found.graph, found.tensors, describe_recipe(chosen))
    if output is not None:
        container.write(Path(output))
    return Finetuning(
        container=container,
        recipe=training.recipe,
        splits=splits.describe(),
        epochs=training.reports,
        dense_bytes=_size(model),
        bytes=len(container.to_bytes()),
        dense_validation=training.dense_validation,
        validation=training.validation(),
        dense_accuracy=training.dense_accuracy,
        accuracy=compiled_accuracy(container, splits.test),
        max_drop=max_drop,
        target_ratio=target_ratio,
    )


def _recipe(
    recipe: str | PathLike[str] | Recipe | None,
    model: onnx.ModelProto,
    splits: Splits,
    max_drop: float | None,
    target_ratio: float | None,
) -> Recipe:
    """Load the recipe that is named, or search one that keeps the limits."""
    if recipe is not None:
        return load_recipe(recipe)
    default = load_recipe(DEFAULT_RECIPE)
    if max_drop is None and target_ratio is None:
        return default
    from dcc.training.recipe_search import search_recipe

    found = search_recipe(model, splits, max_drop=max_drop, target_ratio=target_ratio)
    return replace(found, training=default.training)


def _size(model: str | PathLike[str] | onnx.ModelProto) -> int:
    if isinstance(model, onnx.ModelProto):
        return model.ByteSize()
    return Path(model).stat().st_size
