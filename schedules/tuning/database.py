"""The folder of a tuning database.

=============================  =====================================================================
``device.json``                where it was measured, and with which versions
``measurements.jsonl``         every candidate that was tried, see ``measurements``
``choices.json``               what to build, by layer and storage form that is asked for
``database_*.json``            the records of TVM's MetaSchedule: traces of the decisions
``tuning.log``                 what MetaSchedule says
=============================  =====================================================================
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcc.errors import TuningError
from dcc.schedules.tuning.candidate import Candidate, parse_candidate
from dcc.schedules.tuning.measurements import Measurements, drop_torn_line

if TYPE_CHECKING:
    from tvm.s_tir.meta_schedule.database import JSONDatabase

DEVICE = "device.json"
MEASUREMENTS = "measurements.jsonl"
CHOICES = "choices.json"
WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"


@dataclass(frozen=True)
class Choice:
    """What was chosen for a layer.

    Attributes
    ----------
    candidate
        Its ``Candidate.key``; None keeps the default schedule.
    ratio
        Time of the default over its time, measured in turn.
    trials
        Candidates that had been tried.
    confirmed
        Whether it was measured again beside the default; an interrupted search leaves that out.
    """

    candidate: str | None
    ratio: float
    trials: int
    confirmed: bool = True

    def parsed(self) -> Candidate | None:
        """Return the candidate."""
        return None if self.candidate is None else parse_candidate(self.candidate)


class TuningDatabase:
    """One folder; ``identity`` is the device and the versions that it must be from.

    Raises
    ------
    TuningError
        It is from another device or version, is no database, or is damaged.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, create: bool) -> None:
        self.folder = folder
        self.identity = dict(identity)
        if not (folder / DEVICE).exists():
            if not create:
                raise TuningError(
                    f"'{folder}' is no tuning database: it has no {DEVICE}; "
                    "make one with 'dcc tune --database'"
                )
            self._create()
        self._check()
        self.measurements = Measurements(folder / MEASUREMENTS)
        self.choices = self._read_choices()

    def records(self) -> JSONDatabase:
        """Open TVM's records."""
        from tvm.s_tir.meta_schedule.database import JSONDatabase

        for name in (WORKLOADS, RECORDS):
            if (self.folder / name).exists():
                drop_torn_line(self.folder / name)
        return JSONDatabase(str(self.folder / WORKLOADS), str(self.folder / RECORDS))

    def choose(self, layer: str, storage: str, choice: Choice) -> None:
        """Write a choice down."""
        self.choices.setdefault(layer, {})[storage] = choice
        content = {
            layer: {storage: asdict(choice) for storage, choice in choices.items()}
            for layer, choices in self.choices.items()
        }
        _write(self.folder / CHOICES, content)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from tuning into the same folder.

        Raises
        ------
        TuningError
            One does.
        """
        with (self.folder / DEVICE).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TuningError(
                    f"another process is tuning into '{self.folder}': wait for it, "
                    "or give another folder"
                ) from None
            yield

    def _create(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(self.folder / DEVICE, self.identity)
        except OSError as error:
            raise TuningError(f"cannot write '{self.folder}': {error.strerror or error}") from error

    def _check(self) -> None:
        try:
            found = json.loads((self.folder / DEVICE).read_text())
        except (OSError, ValueError) as error:
            raise TuningError(f"'{self.folder / DEVICE}' cannot be read: {error}") from None
        differences = list(_differences(found, self.identity))
        if differences:
            raise TuningError(
                f"the tuning database '{self.folder}' does not fit: {'; '.join(differences)}. "
                "Its times mean nothing here: tune into another folder"
            )

    def _read_choices(self) -> dict[str, dict[str, Choice]]:
        path = self.folder / CHOICES
        if not path.exists():
            return {}
        try:
            content = json.loads(path.read_text())
            return {
                layer: {storage: Choice(**facts) for storage, facts in choices.items()}
                for layer, choices in content.items()
            }
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise TuningError(f"'{path}' cannot be read: {error}; tune again") from None


def _differences(found: Any, expected: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Say what differs, part by part."""
    for key, value in expected.items():
        name = f"{where}{key}"
        other = found.get(key) if isinstance(found, dict) else None
        if isinstance(value, dict):
            yield from _differences(other, value, f"{name} ")
        elif other != value:
            yield f"{name} was {other!r}, now {value!r}"


def _write(path: Path, content: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)
