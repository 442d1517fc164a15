"""A runner that runs nothing: what the builder's processes have estimated is the time."""

from __future__ import annotations

import json
from pathlib import Path

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

_SECONDS = "seconds"


def write_estimate(path: Path, seconds: float) -> None:
    """Write the time of a candidate where its library would stand."""
    path.write_text(json.dumps({_SECONDS: seconds}))


@derived_object
class _Known(ms.runner.PyRunnerFuture):
    """A result that is there."""

    def __init__(self, result: ms.runner.RunnerResult) -> None:
        super().__init__()
        self._known = result

    def done(self) -> bool:
        """Say that it is there."""
        return True

    def result(self) -> ms.runner.RunnerResult:
        """Return it."""
        return self._known


@derived_object
class EstimateRunner(ms.runner.PyRunner):
    """Reads the estimates that :func:`write_estimate` has written."""

    def run(self, runner_inputs: list[ms.runner.RunnerInput]) -> list[ms.runner.RunnerFuture]:
        """Return the seconds of each candidate."""
        return [_Known(_read(str(each.artifact_path))) for each in runner_inputs]


def _read(path: str) -> ms.runner.RunnerResult:
    try:
        seconds = float(json.loads(Path(path).read_text())[_SECONDS])
    except (OSError, ValueError, KeyError) as error:
        return ms.runner.RunnerResult(None, f"no estimate: {error}")
    return ms.runner.RunnerResult([seconds], None)
