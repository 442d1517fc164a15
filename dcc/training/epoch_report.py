"""What an epoch came to, for progress, checkpoints and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dcc.training.settings import StageName


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to.

    Attributes
    ----------
    epoch, epochs
        Done, and of this stage.
    loss
        Mean over the training batches.
    accuracy
        On the validation split, in percent.
    density
        Of the weights that the recipe compresses.
    projected_bytes
        Of the file as it would be written now.
    """

    stage: StageName
    epoch: int
    epochs: int
    loss: float
    accuracy: float
    density: float
    projected_bytes: int


OnEpoch = Callable[[EpochReport], None]
