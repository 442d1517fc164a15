"""What a recipe says under ``training``: the stages and how each learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dcc.errors import RecipeError

Strategy = Literal["magnitude", "splicing", "drop"]
Schedule = Literal["cubic", "once"]
StageName = Literal["prune", "retrain", "share"]

_Count = Annotated[int, Field(ge=1)]
_Epochs = Annotated[int, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PruneSettings(_Settings):
    """Removing connections while learning.

    Attributes
    ----------
    epochs
        Over which the density falls; 0 leaves the stage out.
    strategy
        ``magnitude``: what is removed stays removed. ``splicing``: removed weights go on learning
        and come back when they grow (dynamic network surgery, arXiv 1608.04493). ``drop``: who
        goes and who comes back is drawn among the candidates (DropPruning, arXiv 1812.02035).
    schedule
        ``cubic`` descends fast, then slowly (Zhu, Gupta 2017, equation 1); ``once`` prunes to the
        recipe's density at the start.
    every
        Steps between two updates of the masks.
    hysteresis
        A connection that is kept counts as so much larger than one that is not: keeps those near
        the threshold from changing sides at every update. Only ``splicing``.
    learning_rate
        Its own; null: that of the whole training.
    """

    epochs: _Epochs = 10
    strategy: Strategy = "magnitude"
    schedule: Schedule = "cubic"
    every: _Count = 50
    hysteresis: _NotNegative = 0.1
    learning_rate: _Positive | None = None


class RetrainSettings(_Settings):
    """Learning under the mask."""

    epochs: _Epochs = 5
    learning_rate: _Positive | None = None


class ShareSettings(_Settings):
    """Trained quantisation: gradients of the weights that share a centroid are summed onto it.

    Attributes
    ----------
    reassign
        Let the weights go on learning behind their centroids and assign them anew after each epoch.
    entropy
        How much a bit of the file counts against squared error (in units of the layer's mean
        square) when weights are assigned: rare centroids and connections that do little fall away.
    """

    epochs: _Epochs = 5
    learning_rate: _Positive | None = None
    reassign: bool = True
    entropy: _NotNegative = 0.0


class TrainingSettings(_Settings):
    """A whole training.

    Attributes
    ----------
    optimizer
        ``adam`` or ``sgd`` (Nesterov momentum 0.9).
    learning_rate
        At the start of each stage; it falls to a hundredth along a cosine in ``retrain`` and
        ``share``, and stays in ``prune``.
    distillation
        Share of the loss that asks for the answers of the dense model instead of the labels.
    temperature
        Of the softmax that is compared in distillation.
    """

    batch_size: _Count = 128
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: _Positive = 1e-3
    weight_decay: _NotNegative = 0.0
    distillation: _Share = 0.0
    temperature: _Positive = 2.0
    prune: PruneSettings = PruneSettings()
    retrain: RetrainSettings = RetrainSettings()
    share: ShareSettings = ShareSettings()

    def epochs_of(self, stage: StageName) -> int:
        """Epochs of a stage."""
        settings: PruneSettings | RetrainSettings | ShareSettings = getattr(self, stage)
        return settings.epochs

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return self.prune.epochs + self.retrain.epochs + self.share.epochs

    def with_epochs(self, epochs: int) -> TrainingSettings:
        """Spread ``epochs`` over the stages in the proportion of this training.

        Each stage that is there keeps one epoch at least, so a few more may come out.
        """
        scale = epochs / max(self.epochs, 1)
        stages = {
            name: stage.model_copy(update={"epochs": max(round(stage.epochs * scale), 1)})
            for name in ("prune", "retrain", "share")
            if (stage := getattr(self, name)).epochs
        }
        return self.model_copy(update=stages)


def training_settings(stated: Mapping[str, Any]) -> TrainingSettings:
    """Check what a recipe states under ``training``.

    Raises
    ------
    RecipeError
        A key or value is wrong.
    """
    try:
        return TrainingSettings.model_validate(dict(stated))
    except ValidationError as error:
        details = error.errors()[0]
        key = ".".join(("training", *(str(part) for part in details["loc"])))
        raise RecipeError(f"{key}: {details['msg']}, got {details['input']!r}") from None
