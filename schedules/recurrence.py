"""Sizes of LSTM and GRU as their kernels see them."""

from __future__ import annotations

from dataclasses import dataclass

from dcc.schedules.weight_reader import Expr

FLOAT = "float32"
"""The type in which recurrences are computed."""


@dataclass(frozen=True)
class Recurrence:
    """Sizes of a recurrence: ``steps`` T, ``batch`` B, ``hidden`` H.

    ``reverse`` runs from the last step.
    """

    steps: int
    batch: int
    hidden: int
    reverse: bool = False

    def place(self, step: Expr) -> Expr:
        """Time step that is run as number ``step``."""
        return self.steps - 1 - step if self.reverse else step
