"""The search over a table of measurements: how many trials one seed takes, without a stopwatch.

A space that was measured whole, once, answers any search at once and always in the same way. So
strategies are compared on equal terms.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from dcc.schedules.tuning.candidate import Candidate, parse_candidate
from dcc.schedules.tuning.measurements import Measurement, Measurements
from dcc.schedules.tuning.search import Budget, Search, SearchTask
from dcc.schedules.tuning.stub import CANDIDATE

MISSING = "not in the table of measurements"


@derived_object
class TableBuilder(ms.builder.PyBuilder):
    """Gives names below a folder that does not exist."""

    def __init__(self, candidates: dict[str, Candidate], folder: Path) -> None:
        super().__init__()
        self.candidates = candidates
        self.numbers = itertools.count()
        self.folder = folder

    def build(self, build_inputs: list[ms.builder.BuilderInput]) -> list[ms.builder.BuilderResult]:
        """Remember which candidate has which name."""
        results = []
        for each in build_inputs:
            path = str(self.folder / str(next(self.numbers)) / "candidate")
            self.candidates[path] = parse_candidate(str(each.mod["main"].attrs[CANDIDATE]))
            results.append(ms.builder.BuilderResult(path, None))
        return results


@derived_object
class TableRunner(ms.runner.PyRunner):
    """Answers from the table."""

    def __init__(
        self, candidates: dict[str, Candidate], table: dict[Candidate, Measurement]
    ) -> None:
        super().__init__()
        self.candidates = candidates
        self.table = table

    def run(self, runner_inputs: list[ms.runner.RunnerInput]) -> list[ms.runner.RunnerFuture]:
        """Look the candidates up."""
        return [self._answer(self.candidates[str(each.artifact_path)]) for each in runner_inputs]

    def _answer(self, candidate: Candidate) -> ms.runner.RunnerFuture:
        found = self.table.get(candidate, Measurement(failure=MISSING))
        seconds = list(found.seconds) if found.failure is None else None
        return ms.runner.LocalRunnerFuture(seconds, found.failure)


def trials_to_reach(
    task: SearchTask, table: Measurements, *, guided: bool, seed: int, within: float = 0.05
) -> int:
    """Count the candidates that a search tries until one is within 5 % of the best of the table.

    Parameters
    ----------
    table
        Every candidate of the task's space, measured.
    guided
        Whether XGBoost guides MetaSchedule's evolutionary search; otherwise it draws at random. The
        default schedule is tried first either way.
    within
        How much slower than the best is good enough.

    Returns
    -------
    int
        The size of the space where none was found.
    """
    measured = table.of_layer(task.key)
    answers = {c: m for c, m in measured.items() if c.form in task.space.forms}
    goal = min(m.median for m in answers.values()) * (1 + within)
    seen = Measurements()
    names: dict[str, Candidate] = {}
    size = len(answers)

    def found() -> bool:
        return any(m.median <= goal for m in seen.of_layer(task.key).values())

    with tempfile.TemporaryDirectory(prefix="dcc-replay-") as folder:
        search = Search(
            [task],
            seen,
            ms.database.MemoryDatabase(),
            TableBuilder(names, Path(folder)),
            TableRunner(names, answers),
            Budget(size, size),
            seed,
            stopped=found,
        )
        search.run(guided=guided)
    for number, measurement in enumerate(seen.of_layer(task.key).values(), start=1):
        if measurement.median <= goal:
            return number
    return size
