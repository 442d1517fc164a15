"""An ONNX model, its data and its recipe on a device: what :func:`dcc.finetune` trains."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch.nn import functional

from dcc.compression import describe_recipe
from dcc.container import Container
from dcc.datasets import LabelledData
from dcc.passes.options import LayerOptions, Recipe
from dcc.training.batches import MemoryBatches
from dcc.training.compressible import CompressibleModel
from dcc.training.data import Splits, to_tensors
from dcc.training.epoch_report import EpochReport, OnEpoch
from dcc.training.evaluate import Forward, evaluate
from dcc.training.loop import Learning
from dcc.training.recipe_check import check_layers
from dcc.training.settings import training_settings, with_epochs
from dcc.training.stages import run_stages
from dcc.training.torch_graph import TorchGraph, with_weights

Labelled = tuple[torch.Tensor, torch.Tensor]


class OnnxTraining:
    """Trains on the GPU that torch sees, or on the CPU.

    Attributes
    ----------
    recipe
        What is run: the recipe that was given, with ``epochs`` in all if that was given.
    dense_validation, dense_accuracy
        Accuracy in percent of the model as it came, on the validation and the test split.
    reports
        What each epoch came to.
    """

    def __init__(
        self, model: onnx.ModelProto, splits: Splits, recipe: Recipe, epochs: int | None, seed: int
    ) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._graph = TorchGraph(model).to(self._device).eval()
        self.recipe = replace(recipe, training=with_epochs(recipe.training, epochs))
        self._splits, self._seed = splits, seed
        self.settings = training_settings(self.recipe.training)
        self._validation = self._tensors(splits.validation)
        self.dense_validation = evaluate(self._graph, *self._validation).accuracy
        self.dense_accuracy = evaluate(self._graph, *self._tensors(splits.test)).accuracy
        self.model = CompressibleModel(self._graph, self._options)
        check_layers(self.recipe, self._graph.weight_names.values(), self.model)
        self.reports: list[EpochReport] = []

    def train(
        self,
        checkpoint: Path | None = None,
        resume: bool = False,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        """Run the stages; see :func:`dcc.training.stages.run_stages`."""
        torch.use_deterministic_algorithms(True, warn_only=True)
        learning = Learning(
            self.model,
            MemoryBatches(*self._tensors(self._splits.train), self.settings.batch_size),
            lambda forward: evaluate(forward, *self._validation),
            self.settings,
            functional.cross_entropy,
            self._seed,
            self._teacher() if self.settings.distillation else None,
            self._bytes_besides_weights(),
        )
        self.reports = run_stages(learning, self._identity(), checkpoint, resume, on_epoch)
        self._graph.eval()

    def validation(self) -> float:
        """Accuracy in percent of the compressed model on the validation split."""
        return evaluate(self.model, *self._validation).accuracy

    def result(self) -> onnx.ModelProto:
        """Give the ONNX model with the weights as they are now: exact zeros and few values."""
        return with_weights(self._graph.model, self._graph.arrays(self.model.values()))

    def _options(self, parameter: str) -> LayerOptions:
        name = self._graph.weight_names[parameter]
        return self.recipe.for_layer(name, self._graph.operator_types[name])

    def _tensors(self, data: LabelledData) -> Labelled:
        return to_tensors(data, self._graph.sample_shape, self._device)

    def _teacher(self) -> Forward:
        """Copy of the dense model that only answers."""
        teacher = TorchGraph(self._graph.model).to(self._device).eval().requires_grad_(False)

        def answer(samples: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return teacher(samples)

        return answer

    def _bytes_besides_weights(self) -> int:
        """Bytes of the container besides the weights that are trained."""
        model = self._graph.model
        trained = set(self._graph.weight_names.values())
        sizes = Container.from_model(model, None, describe_recipe(self.recipe)).nbytes()
        return sizes.total - sum(sizes.tensors[name].total for name in trained)

    def _identity(self) -> dict[str, Any]:
        """Say what two trainings must share so that one can go on where the other stopped."""
        model = self._graph.model.SerializeToString(deterministic=True)
        described = repr(describe_recipe(self.recipe)).encode()
        return {
            "model": hashlib.sha256(model).hexdigest(),
            "recipe": hashlib.sha256(described).hexdigest(),
            "training": self.settings.model_dump(),
            "data": self._splits.describe(),
            "content of the data": self._splits.digest(),
            "seed": self._seed,
        }
