"""What a tuning database says about a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dcc.codegen.weight_matrix import WeightMatrix
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tuning.candidate import Candidate


@dataclass(frozen=True)
class Decision:
    """The candidate to build, None for the default schedule, and why."""

    candidate: Candidate | None
    reason: str


LookUp: TypeAlias = "Callable[[LayerShape, WeightMatrix, str], Decision]"
"""Called with a layer and the storage form that is asked for, or ``auto``."""
