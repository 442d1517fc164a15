"""Accuracy and loss of a torch module over labelled data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from dcc.errors import InputError

BATCH = 1000

Forward = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Evaluation:
    """Accuracy in percent, and mean cross-entropy."""

    accuracy: float
    loss: float


def evaluate(
    forward: Forward, samples: torch.Tensor, labels: torch.Tensor, batch: int = BATCH
) -> Evaluation:
    """Evaluate ``forward`` (logits [N, classes], or any shape with so many elements a sample).

    Parameters
    ----------
    samples, labels
        [N, ...] and [N], on the device of the module.

    Raises
    ------
    InputError
        A label is none of the classes.
    """
    highest = int(labels.max())
    right = torch.zeros((), dtype=torch.int64, device=labels.device)
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(samples), batch):
            truth = labels[start : start + batch]
            logits = forward(samples[start : start + batch]).reshape(len(truth), -1)
            if highest >= logits.shape[1]:
                raise InputError(
                    f"the labels go up to {highest}, the model's first output has "
                    f"{logits.shape[1]} values a sample: classes 0 to {logits.shape[1] - 1}"
                )
            right += (logits.argmax(1) == truth).sum()
            total += float(functional.cross_entropy(logits, truth, reduction="sum"))
    return Evaluation(100.0 * int(right) / len(labels), total / len(labels))
