"""A torch module of the user's own, compressed while it learns: what :mod:`dcc.torch` offers."""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn import functional

from dcc.compression import compress, describe_recipe
from dcc.container import Container
from dcc.errors import ModelError
from dcc.onnx_weights import load_model
from dcc.passes.options import LayerOptions, Recipe
from dcc.recipes import load_recipe
from dcc.training.batches import Batch, LoaderBatches
from dcc.training.compressible import CompressibleModel
from dcc.training.epoch_report import EpochReport, OnEpoch
from dcc.training.evaluate import Evaluation, Forward
from dcc.training.loop import Learning, Loss
from dcc.training.recipe_check import check_layers
from dcc.training.settings import training_settings, with_epochs
from dcc.training.stages import run_stages

_OPSET = 17
_TYPES: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.Conv1d, "Conv"),
    (nn.Conv2d, "Conv"),
    (nn.Conv3d, "Conv"),
    (nn.Linear, "Gemm"),
    (nn.Embedding, "Gather"),
    (nn.LSTM, "LSTM"),
    (nn.GRU, "GRU"),
)


@dataclass
class Trained:
    """A module that has been compressed in place.

    Attributes
    ----------
    module
        The module that was given: zeros and shared values stand in its parameters.
    epochs
        What each epoch came to.
    """

    module: nn.Module
    recipe: Recipe
    epochs: list[EpochReport] = field(repr=False)

    def to_onnx(self, example: torch.Tensor) -> onnx.ModelProto:
        """Export the module with an open first dimension.

        Parameters
        ----------
        example
            One batch of samples [N, ...].

        Raises
        ------
        ModelError
            Torch cannot export it.
        """
        axes = {"input": {0: "N"}, "output": {0: "N"}}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "module.onnx"
            try:
                torch.onnx.export(
                    self.module.eval(),
                    (example,),
                    path,
                    input_names=["input"],
                    output_names=["output"],
                    dynamic_axes=axes,
                    opset_version=_OPSET,
                    dynamo=False,
                    do_constant_folding=False,
                    # Not EVAL, which would fold batch normalisation into the shared values.
                    training=torch.onnx.TrainingMode.PRESERVE,
                )
            except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
                reason = str(error).strip().splitlines()[0]
                raise ModelError(f"torch cannot export the module: {reason}") from error
            return load_model(path)

    def compress(self, output: str | PathLike[str] | None, example: torch.Tensor) -> Container:
        """Export and compress the module; ``output`` None writes nothing."""
        found = compress(self.to_onnx(example), recipe="lossless")
        container = Container(found.graph, found.tensors, describe_recipe(self.recipe))
        if output is not None:
            container.write(Path(output))
        return container


def finetune(
    module: nn.Module,
    loader: Iterable[Batch],
    recipe: str | PathLike[str] | Recipe = "finetune",
    *,
    validation: Iterable[Batch],
    loss: Loss = functional.cross_entropy,
    epochs: int | None = None,
    seed: int = 0,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Prune, retrain and share the weights of ``module`` in place.

    Parameters
    ----------
    module
        Takes samples [N, ...]; trained where its parameters are, CPU or GPU.
    loader
        Batches of samples and targets, such as a ``DataLoader`` that shuffles.
    recipe
        As for :func:`dcc.finetune`; layers by the names of the module's parameters.
    validation
        Batches that choose between epochs: none of the test data.
    loss
        Of outputs and targets. Accuracy is counted where the targets are classes.
    epochs, seed, checkpoint, resume, on_epoch
        As for :func:`dcc.finetune`. A loader that shuffles draws from torch's global generator,
        which is seeded for each epoch.
    """
    chosen = load_recipe(recipe)
    chosen = replace(chosen, training=with_epochs(chosen.training, epochs))
    settings = training_settings(chosen.training)
    device = next(module.parameters()).device
    types = operator_types(module)

    def options(name: str) -> LayerOptions:
        return chosen.for_layer(name, types[name])

    model = CompressibleModel(module, options)
    check_layers(chosen, types, model)
    learning = Learning(
        model,
        LoaderBatches(loader, device),
        lambda forward: _evaluate(forward, LoaderBatches(validation, device), loss),
        settings,
        loss,
        seed,
        _teacher(module) if settings.distillation else None,
    )
    shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
    identity = {
        "module": hashlib.sha256(repr(shapes).encode()).hexdigest(),
        "recipe": hashlib.sha256(repr(describe_recipe(chosen)).encode()).hexdigest(),
        "training": settings.model_dump(),
        "seed": seed,
    }
    path = None if checkpoint is None else Path(checkpoint)
    reports = run_stages(learning, identity, path, resume, on_epoch)
    with torch.no_grad():
        for name, value in model.values().items():
            model.weights[name].latent.copy_(value)
    return Trained(module.eval(), chosen, reports)


def operator_types(module: nn.Module) -> dict[str, str]:
    """Map each parameter of ``module`` to the operator that a recipe names: ``bias`` if none."""
    types = {}
    for prefix, part in module.named_modules():
        operator = next((kind for known, kind in _TYPES if isinstance(part, known)), "bias")
        for name, _ in part.named_parameters(prefix, recurse=False):
            weight = name.rpartition(".")[2].startswith("weight")
            types[name] = operator if weight else "bias"
    return types


def _evaluate(forward: Forward, batches: LoaderBatches, loss: Loss) -> Evaluation:
    """Accuracy where the targets are classes, else minus the loss, which orders epochs as well."""
    right = count = 0
    total = 0.0
    classes = True
    with torch.no_grad():
        for samples, targets in batches.epoch(0):
            outputs = forward(samples)
            total += float(loss(outputs, targets)) * len(samples)
            count += len(samples)
            classes = classes and not targets.is_floating_point()
            if classes:
                right += int((outputs.argmax(1) == targets).sum())
    mean = total / max(count, 1)
    return Evaluation(100.0 * right / max(count, 1) if classes else -mean, mean)


def _teacher(module: nn.Module) -> Forward:
    teacher = copy.deepcopy(module).eval().requires_grad_(False)

    def answer(samples: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return teacher(samples)

    return answer
