"""What was measured, as lines of a file: written at once, never measured again.

{"layer": ..., "candidate": {"form": "sparse", "lanes": 16}, "seconds": [1.1e-4, ...]}
{"layer": ..., "candidate": {...}, "failure": "wrong answer: off by ..."}
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dcc.schedules.tuning.candidate import Candidate, parse_candidate


@dataclass(frozen=True)
class Measurement:
    """Seconds of some runs of a candidate, or why there are none."""

    seconds: tuple[float, ...] = ()
    failure: str | None = None

    @property
    def median(self) -> float:
        """Median of the runs; infinite for a candidate that failed."""
        return median(self.seconds) if self.seconds else float("inf")


class Measurements:
    """All measurements of a database, by layer and candidate.

    ``path`` None keeps them in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._found: dict[str, dict[Candidate, Measurement]] = {}
        if path is not None and path.exists():
            drop_torn_line(path)
            for line in path.read_text().splitlines():
                self._remember(*_parsed(json.loads(line)))

    def get(self, layer: str, candidate: Candidate) -> Measurement | None:
        """Return what was measured of a candidate."""
        return self._found.get(layer, {}).get(candidate)

    def of_layer(self, layer: str) -> dict[Candidate, Measurement]:
        """Return everything that was measured of a layer."""
        return self._found.get(layer, {})

    def add(self, layer: str, candidate: Candidate, measurement: Measurement) -> None:
        """Remember a measurement, and write it down before this returns."""
        self._remember(layer, candidate, measurement)
        if self.path is None:
            return
        facts: dict[str, Any] = {"layer": layer, "candidate": json.loads(candidate.key)}
        if measurement.failure is None:
            facts["seconds"] = measurement.seconds
        else:
            facts["failure"] = measurement.failure
        with self.path.open("a") as file:
            file.write(json.dumps(facts) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _remember(self, layer: str, candidate: Candidate, measurement: Measurement) -> None:
        self._found.setdefault(layer, {})[candidate] = measurement


def _parsed(facts: dict[str, Any]) -> tuple[str, Candidate, Measurement]:
    measurement = Measurement(tuple(facts.get("seconds", ())), facts.get("failure"))
    return facts["layer"], parse_candidate(json.dumps(facts["candidate"])), measurement


def best_of(measured: Iterable[tuple[Candidate, Measurement]]) -> list[Candidate]:
    """Candidates that answered, the fastest first."""
    answered = [(m.median, str(c), c) for c, m in measured if m.failure is None]
    return [candidate for _, _, candidate in sorted(answered, key=lambda item: item[:2])]


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a killed process has not finished."""
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
