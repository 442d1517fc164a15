"""How far an output is off from the reference: largest error and signal-to-noise ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcc.errors import InputError


@dataclass
class OutputDifference:
    """How far one output is off, over all runs.

    Attributes
    ----------
    largest_error
        Largest absolute difference; infinite where only one side is a finite number.
    largest_magnitude
        Of the reference's finite values.
    signal, noise
        Sums of squares of the reference and of the differences.
    """

    name: str
    largest_error: float = 0.0
    largest_magnitude: float = 0.0
    signal: float = 0.0
    noise: float = 0.0

    @property
    def relative_error(self) -> float:
        """Largest error over the largest magnitude (the bare error if the reference is zero)."""
        return self.largest_error / (self.largest_magnitude or 1.0)

    @property
    def sqnr_db(self) -> float | None:
        """Signal-to-quantisation-noise ratio in decibel; None where nothing differs."""
        if not self.noise:
            return None
        ratio = self.signal / self.noise
        return 10 * math.log10(ratio) if ratio else -math.inf

    def add(self, actual: np.ndarray, expected: np.ndarray) -> None:
        """Take one more run into account."""
        if actual.shape != expected.shape:
            raise InputError(
                f"output '{self.name}' has shape {list(actual.shape)}, the reference "
                f"{list(expected.shape)}: were they compiled for the same input shapes (--shape)?"
            )
        ours, theirs = (np.asarray(array, np.float64) for array in (actual, expected))
        with np.errstate(invalid="ignore", over="ignore"):
            same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
            difference = np.where(same, 0.0, np.abs(ours - theirs))
        difference = np.where(np.isnan(difference), np.inf, difference)
        finite = theirs[np.isfinite(theirs)]
        self.largest_error = max(self.largest_error, float(difference.max(initial=0.0)))
        self.largest_magnitude = max(self.largest_magnitude, float(np.abs(finite).max(initial=0.0)))
        self.signal += float(np.square(finite).sum())
        self.noise += float(np.square(difference).sum())

    def to_json(self) -> dict[str, Any]:
        """Numbers for a report; infinite ones as strings, which JSON lacks otherwise."""
        values = {
            "largest_error": self.largest_error,
            "relative_error": self.relative_error,
            "sqnr_db": self.sqnr_db,
        }
        return {"name": self.name, **{key: json_number(value) for key, value in values.items()}}


def json_number(value: float | None) -> float | str | None:
    """``value`` as JSON can hold it: infinities and NaN become strings."""
    return value if value is None or math.isfinite(value) else str(value)
