"""Builder and runner that answer from what was measured, and leave the rest to TVM's own.

So a search that is started again goes the way that it went, at no cost, and goes on from there; and
a search over a table of measurements needs no builder and no runner.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from dcc.schedules.tuning.candidate import Candidate, Space
from dcc.schedules.tuning.evaluation import INTERRUPTED
from dcc.schedules.tuning.measurements import Measurement, Measurements
from dcc.schedules.tuning.stub import CANDIDATE, LAYER_KEY, candidate_on

RECORDED = "recorded:"
UNKNOWN = "not in the table of measurements"


@dataclass
class Desk:
    """Knows which candidate stands behind a built library, and takes in the results.

    Attributes
    ----------
    spaces
        By the key of the layer.
    built
        Path of a library, or a name of a recorded answer -> layer and candidate.
    room
        How many more candidates of a layer may be measured.
    """

    spaces: dict[str, Space]
    measurements: Measurements
    room: Callable[[str], int] = lambda _layer: sys.maxsize
    built: dict[str, tuple[str, Candidate]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    def identify(self, module: Any) -> tuple[str, Candidate]:
        """Read layer and candidate from the module of a measure candidate."""
        key = str(module["main"].attrs[LAYER_KEY])
        return key, candidate_on(module, self.spaces[key])

    def failed(self, layer: str, candidate: Candidate, message: str) -> None:
        """Take in that a candidate could not be built or run, and why."""
        if INTERRUPTED not in message:
            self.measurements.add(layer, candidate, Measurement(failure=reason_of(message)))

    def settle(self, path: str, result: ms.runner.RunnerResult) -> None:
        """Take in the result of a run, and remove the library."""
        layer, candidate = self.built.pop(path)
        if result.error_msg is not None:
            self.failed(layer, candidate, str(result.error_msg))
        else:
            seconds = tuple(float(second) for second in result.run_secs)
            self.measurements.add(layer, candidate, Measurement(seconds))
        shutil.rmtree(Path(path).parent, ignore_errors=True)


def reason_of(message: str) -> str:
    """Return the last line of a traceback, with the name of the exception left out."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    if not lines:
        return "failed without a message"
    last = lines[-1]
    for name in ("CompileError: ", "EncodingError: "):
        last = last.rpartition(name)[2]
    return last


@derived_object
class AnsweringBuilder(ms.builder.PyBuilder):
    """Builds what is not known yet."""

    def __init__(self, desk: Desk, delegate: ms.Builder | None) -> None:
        super().__init__()
        self.desk = desk
        self.delegate = delegate

    def build(self, build_inputs: list[ms.builder.BuilderInput]) -> list[ms.builder.BuilderResult]:
        """Build; a known candidate gets a name instead of a path."""
        asked = [(each, *self.desk.identify(each.mod)) for each in build_inputs]
        # A strategy that draws at random may draw one candidate twice in a batch.
        known = [
            self.desk.measurements.get(layer, c) is not None or (layer, c) in drawn(asked[:place])
            for place, (_, layer, c) in enumerate(asked)
        ]
        unknown = [
            ms.builder.BuilderInput(bearing(each.mod, candidate), each.target)
            for (each, _, candidate), old in zip(asked, known, strict=True)
            if not old
        ]
        if unknown:
            unknown = unknown[: self.desk.room(asked[0][1])]
        fresh = iter(self._delegated(unknown))
        results = []
        for (_, layer, candidate), old in zip(asked, known, strict=True):
            if old:
                path = f"{RECORDED}{next(self.desk.numbers)}"
                self.desk.built[path] = (layer, candidate)
                results.append(ms.builder.BuilderResult(path, None))
                continue
            result = next(fresh, ms.builder.BuilderResult(None, INTERRUPTED))
            if result.error_msg is not None:
                self.desk.failed(layer, candidate, str(result.error_msg))
            else:
                self.desk.built[str(result.artifact_path)] = (layer, candidate)
            results.append(result)
        return results

    def _delegated(self, inputs: list[ms.builder.BuilderInput]) -> list[ms.builder.BuilderResult]:
        if not inputs:
            return []
        if self.delegate is None:
            return [ms.builder.BuilderResult(None, UNKNOWN) for _ in inputs]
        return list(self.delegate.build(inputs))


def drawn(asked: Sequence[tuple[Any, str, Candidate]]) -> set[tuple[str, Candidate]]:
    """Layers and candidates of builder inputs."""
    return {(layer, candidate) for _, layer, candidate in asked}


def bearing(module: Any, candidate: Candidate) -> Any:
    """Give ``module`` an attribute that a worker can read without the space."""
    copy = type(module)(dict(module.functions_items()), module.attrs)
    copy["main"] = module["main"].with_attr(CANDIDATE, candidate.key)
    return copy


@derived_object
class Answer(ms.runner.PyRunnerFuture):
    """A result that is known, or that a runner still owes."""

    def __init__(self, desk: Desk, path: str, future: ms.runner.RunnerFuture | None) -> None:
        super().__init__()
        self.desk = desk
        self.path = path
        self.future = future
        self.known: ms.runner.RunnerResult | None = None

    def done(self) -> bool:
        """Whether :meth:`result` returns at once."""
        return self.future is None or self.known is not None or bool(self.future.done())

    def result(self) -> ms.runner.RunnerResult:
        """Wait for the result; it is taken in once."""
        if self.known is None:
            self.known = self._recorded() if self.future is None else self.future.result()
            if self.future is not None:
                self.desk.settle(self.path, self.known)
        return self.known

    def _recorded(self) -> ms.runner.RunnerResult:
        layer, candidate = self.desk.built.pop(self.path)
        measurement = self.desk.measurements.get(layer, candidate)
        if measurement is None:
            return ms.runner.RunnerResult(None, INTERRUPTED)
        if measurement.failure is not None:
            return ms.runner.RunnerResult(None, measurement.failure)
        return ms.runner.RunnerResult(list(measurement.seconds), None)


@derived_object
class AnsweringRunner(ms.runner.PyRunner):
    """Runs what is not known yet: one after the other, or on as many devices as there are."""

    def __init__(self, desk: Desk, delegate: ms.Runner | None) -> None:
        super().__init__()
        self.desk = desk
        self.delegate = delegate

    def run(self, runner_inputs: list[ms.runner.RunnerInput]) -> list[ms.runner.RunnerFuture]:
        """Start the runs; what is done is taken in before the next one starts."""
        futures = []
        for each in runner_inputs:
            path = str(each.artifact_path)
            recorded = path.startswith(RECORDED)
            future = self.delegate.run([each])[0] if not recorded and self.delegate else None
            answer = Answer(self.desk, path, future)
            if future is not None and future.done():
                answer.result()
            futures.append(answer)
        return futures
