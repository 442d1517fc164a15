"""One stage of training: its steps, its epochs, and which epoch is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.nn import functional

from dcc.errors import RecipeError
from dcc.training.batches import Batches
from dcc.training.compressible import CompressibleModel
from dcc.training.epoch_report import EpochReport
from dcc.training.evaluate import Evaluation
from dcc.training.settings import StageName, TrainingSettings

Loss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Evaluate: TypeAlias = Callable[[Callable[[torch.Tensor], torch.Tensor]], Evaluation]

_LAST_RATE = 0.01
_BEHIND = 0.1
"""Rate of weights behind centroids: the steps of Adam are as large for them as for a centroid, and
at the full rate an epoch would carry many past their neighbours' borders."""
_REASSIGNING = 0.6
"""Share of the epochs after which assignments stay, so that the centroids settle."""
_SEED_STRIDE = 100_003


@dataclass
class Learning:
    """What all stages share.

    Attributes
    ----------
    teacher
        Gives the answers of the dense model, for distillation; None: no distillation.
    overhead
        Bytes of the file besides the weights.
    """

    model: CompressibleModel
    batches: Batches
    evaluate: Evaluate
    settings: TrainingSettings
    loss: Loss
    seed: int
    teacher: Callable[[torch.Tensor], torch.Tensor] | None = None
    overhead: int = 0

    def loss_of(self, samples: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the loss of a batch, with the share of distillation that the settings ask for."""
        outputs = self.model(samples)
        share, temperature = self.settings.distillation, self.settings.temperature
        loss = self.loss(outputs, targets)
        if self.teacher is None or not share:
            return loss
        wanted = torch.softmax(self.teacher(samples) / temperature, dim=1)
        found = torch.log_softmax(outputs / temperature, dim=1)
        distilled = functional.kl_div(found, wanted, reduction="batchmean") * temperature**2
        return (1.0 - share) * loss + share * distilled


@dataclass
class StageRun:
    """A stage at some epoch; its :meth:`state` and that of the model are a checkpoint.

    Attributes
    ----------
    first_epoch
        Epochs of the stages before, which number the epochs of the whole training.
    """

    stage: StageName
    learning: Learning
    first_epoch: int
    epoch: int = 0
    best: dict[str, Any] | None = None
    best_score: tuple[float, int] = (float("-inf"), 0)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        settings = self.learning.settings
        own = getattr(settings, self.stage)
        self.epochs = settings.epochs_of(self.stage)
        self._rate = own.learning_rate or settings.learning_rate
        seen, behind = self.learning.model.parameters()
        groups: list[dict[str, Any]] = [{"params": seen, "scale": 1.0}]
        if behind and settings.share.reassign:
            groups.append({"params": behind, "scale": _BEHIND})
        self.optimizer = _optimizer(groups, self._rate, settings)
        self._generator = torch.Generator()

    def run_epoch(self) -> EpochReport:
        """Train one epoch, then update what changes between epochs, and evaluate."""
        learning, model = self.learning, self.learning.model
        seed = learning.seed * _SEED_STRIDE + self.first_epoch + self.epoch
        torch.manual_seed(seed)
        self._generator.manual_seed(seed)
        model.module.train()
        total = torch.zeros((), dtype=torch.float64)
        moved = {name: torch.zeros_like(w.latent) for name, w in model.weights.items()}
        steps = len(learning.batches)
        for step, (samples, targets) in enumerate(learning.batches.epoch(seed)):
            self._before_step(self.epoch * steps + step, self.epochs * steps)
            self.optimizer.zero_grad()
            loss = learning.loss_of(samples, targets)
            loss.backward()
            _note_gradients(model, moved)
            self.optimizer.step()
            total += float(loss.detach())
        self.epoch += 1
        if not math.isfinite(total):
            raise RecipeError(
                f"the training diverged: loss {float(total)} in epoch {self.epoch} of "
                f"'{self.stage}'; give a smaller training.learning_rate"
            )
        self._after_epoch(moved)
        return self._report(float(total) / max(steps, 1))

    def keep_best(self) -> None:
        """Load the best epoch of this stage, if there is one."""
        if self.best is not None:
            self.learning.model.load(self.best)

    def state(self) -> dict[str, Any]:
        """Everything but the model."""
        return {
            "epoch": self.epoch,
            "best": self.best,
            "best_score": list(self.best_score),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take :meth:`state` back."""
        self.epoch = state["epoch"]
        self.best = state["best"]
        self.best_score = (state["best_score"][0], state["best_score"][1])
        self.optimizer.load_state_dict(state["optimizer"])

    def _before_step(self, step: int, steps: int) -> None:
        settings = self.learning.settings
        if self.stage == "prune":
            if step % settings.prune.every == 0:
                # Done at four fifths, so that the stage ends with some learning at its density.
                progress = step / max(0.8 * steps, 1.0)
                self.learning.model.prune(progress, settings.prune, self._generator)
            return
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / max(steps, 1)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * self._rate * (_LAST_RATE + (1.0 - _LAST_RATE) * cosine)

    def _after_epoch(self, moved: dict[str, torch.Tensor]) -> None:
        model, settings = self.learning.model, self.learning.settings
        for name, weight in model.weights.items():
            if weight.density is not None:
                weight.forget(moved[name] == 0)
        if (
            self.stage == "share"
            and settings.share.reassign
            and self.epoch <= _REASSIGNING * self.epochs
        ):
            for weight in model.weights.values():
                weight.reassign(settings.share.entropy)

    def _report(self, loss: float) -> EpochReport:
        learning = self.learning
        learning.model.module.eval()
        accuracy = learning.evaluate(learning.model).accuracy
        size = learning.overhead + learning.model.projected_bytes()
        # While the density or the assignments change much, a good epoch is not what will be kept.
        if self.stage != "prune" and 2 * self.epoch >= self.epochs:
            score = (accuracy, -size)
            if score > self.best_score:
                self.best, self.best_score = learning.model.state(), score
        density = learning.model.density
        return EpochReport(self.stage, self.epoch, self.epochs, loss, accuracy, density, size)


def _optimizer(
    groups: list[dict[str, Any]], rate: float, settings: TrainingSettings
) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups, rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
        )
    return torch.optim.AdamW(groups, rate, weight_decay=settings.weight_decay)


def _note_gradients(model: CompressibleModel, moved: dict[str, torch.Tensor]) -> None:
    """Add up the magnitudes of gradients: a weight that never had one changes nothing."""
    for name, weight in model.weights.items():
        if weight.latent.grad is not None:
            moved[name] += weight.latent.grad.abs()
        else:
            moved[name].fill_(1.0)
