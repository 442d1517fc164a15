"""What a recipe says under ``training``: the stages and how each learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dcc.errors import RecipeError

Strategy = Literal["magnitude", "splicing", "drop"]
Schedule = Literal["cubic", "once"]
StageName = Literal["prune", "retrain", "share"]
STAGES: tuple[StageName, ...] = ("prune", "retrain", "share")

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
        """Spread ``epochs``, in all, over the stages in the proportion of this training.

        Each stage that is there keeps one epoch at least; if there are fewer than stages, the
        longest stages have one.

        Raises
        ------
        RecipeError
            No stage has epochs, or ``epochs`` is below 1.
        """
        shares = {name: self.epochs_of(name) for name in STAGES if self.epochs_of(name)}
        if not shares:
            raise RecipeError(
                f"{epochs} epochs have no stage to go to: prune, retrain and share have 'epochs: "
                "0' in the recipe; give one of them some"
            )
        if epochs < 1:
            raise RecipeError(f"epochs is {epochs}; expected 1 or more in all")
        spread = _spread(epochs, shares)
        stages: dict[str, _Settings] = {
            name: getattr(self, name).model_copy(update={"epochs": count})
            for name, count in spread.items()
        }
        return self.model_copy(update=stages)


def with_epochs(stated: Mapping[str, Any], epochs: int | None) -> dict[str, Any]:
    """Return what a recipe states under ``training``, with ``epochs`` in all instead of its own."""
    if epochs is None:
        return dict(stated)
    settings = training_settings(stated).with_epochs(epochs)
    stages: dict[str, Any] = {
        name: {**stated.get(name, {}), "epochs": settings.epochs_of(name)} for name in STAGES
    }
    return {**stated, **stages}


def _spread(epochs: int, shares: Mapping[StageName, int]) -> dict[StageName, int]:
    """Divide by largest remainders; what came out empty takes one from what has most."""
    total = sum(shares.values())
    spread = {name: epochs * share // total for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: -(epochs * shares[name] % total))
    for name in by_remainder[: epochs - sum(spread.values())]:
        spread[name] += 1
    for name in sorted(shares, key=lambda name: -shares[name])[:epochs]:
        if not spread[name]:
            spread[max(spread, key=lambda each: spread[each])] -= 1
            spread[name] = 1
    return spread


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
