"""What a run of the tuner found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TunedLayer:
    """One kind of layer.

    Attributes
    ----------
    layers
        The layers of this kind, by the names of their weights.
    default, chosen
        The default schedule, and what ``compile`` builds; ``default`` where it stays.
    default_seconds
        Time of the default schedule; None where it was not measured.
    ratio
        Time of the default over that of the choice, measured in turn.
    trials
        Candidates that were tried, in this run and before.
    failures
        Why candidates have no time.
    confirmed
        Whether the choice was measured again beside the default.
    """

    layers: list[str]
    default: str
    default_seconds: float | None
    chosen: str
    ratio: float
    trials: int
    failures: list[str]
    confirmed: bool


@dataclass(frozen=True)
class TuningReport:
    """All layers.

    Attributes
    ----------
    stopped
        Why the search ended before all trials were made; None where it did not.
    seconds
        Length of this run.
    """

    database: str
    layers: list[TunedLayer]
    stopped: str | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return asdict(self)
