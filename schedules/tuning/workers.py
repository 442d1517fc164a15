"""What runs in MetaSchedule's worker processes: TVM's builder and runners call these functions."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.runner import EvaluatorConfig
from tvm.support.popen_pool import MapResult, PopenPoolExecutor, StatusKind

from dcc.schedules.tuning.candidate import Candidate, parse_candidate
from dcc.schedules.tuning.evaluation import (
    INTERRUPTED,
    Evaluation,
    is_stopped,
    no_arguments,
    refuse_when_stopped,
)
from dcc.schedules.tuning.stub import CANDIDATE, LAYER_KEY

SAFE_PATH = "PYTHONSAFEPATH"
USES = 200
"""Candidates that one process builds."""

BuildCandidate: TypeAlias = "Callable[[str, Candidate, Path], None]"
"""Called with the name of a layer, a candidate and the path of the library to write."""


@dataclass(frozen=True)
class Limits:
    """How long a candidate may take, in seconds, and how it is timed.

    Attributes
    ----------
    build_seconds, run_seconds
        Generous: a busy machine takes several times as long as an idle one.
    repeats
        Blocks of at least ``block_milliseconds`` each.
    rounds
        How often the best candidates and the default run in turn at the end.
    """

    build_seconds: float = 120.0
    run_seconds: float = 60.0
    repeats: int = 5
    block_milliseconds: int = 20
    rounds: int = 9

    def evaluator(self) -> EvaluatorConfig:
        """Return the configuration of TVM's evaluator."""
        return EvaluatorConfig(number=1, repeat=self.repeats, min_repeat_ms=self.block_milliseconds)


@dataclass(frozen=True)
class Tracker:
    """Where TVM's RPC tracker listens, and the key of the devices that it lends."""

    host: str
    port: int
    key: str


@dataclass(frozen=True)
class BuildInWorker:
    """What a builder's process does: gives a library in a folder of its own below ``folder``."""

    build: BuildCandidate
    folder: str
    names: dict[str, str]

    def __call__(self, module: Any) -> str:
        """Build the candidate that ``module`` bears; returns the path of the library."""
        refuse_when_stopped(self.folder)
        attributes = module["main"].attrs
        candidate = parse_candidate(str(attributes[CANDIDATE]))
        output = Path(tempfile.mkdtemp(dir=self.folder)) / "candidate.so"
        self.build(self.names[str(attributes[LAYER_KEY])], candidate, output)
        return str(output)


@contextmanager
def safe_path() -> Iterator[None]:
    """Keep the working folder off the path of modules of worker processes.

    They run as ``python -m``, which would take a folder ``dcc`` there for this package.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def ignore_interrupts() -> None:
    """Leave Ctrl-C, which the terminal sends to every process, to the process that searches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@derived_object
class PersistentBuilder(ms.builder.PyBuilder):
    """TVM's local builder, but for one thing: its processes live on from batch to batch.

    TVM starts new ones for every batch, because some builds leak memory; importing TVM takes longer
    than to build a candidate. Here a process is replaced after ``USES`` candidates.
    """

    def __init__(self, build: BuildInWorker, limits: Limits, processes: int) -> None:
        super().__init__()
        self.f_build = build
        self.limits = limits
        self.pool = PopenPoolExecutor(
            max_workers=processes,
            timeout=limits.build_seconds,
            initializer=ignore_interrupts,
            maximum_process_uses=USES,
            stderr=subprocess.DEVNULL,
        )

    def build(self, build_inputs: list[ms.builder.BuilderInput]) -> list[ms.builder.BuilderResult]:
        """Build on all processes; a failure names its reason."""
        modules = [each.mod for each in build_inputs]
        done = self.pool.map_with_error_catching(self.f_build, modules)
        return [self._result(each) for each in done]

    def _result(self, done: MapResult) -> ms.builder.BuilderResult:
        if done.status == StatusKind.COMPLETE:
            return ms.builder.BuilderResult(done.value, None)
        if done.status == StatusKind.TIMEOUT:
            text = f"the build was killed after {self.limits.build_seconds:g} s"
            return ms.builder.BuilderResult(None, text)
        crashed = isinstance(done.value, ChildProcessError)
        if crashed and is_stopped(self.f_build.folder):
            # Ctrl-C came before the process could ignore it.
            return ms.builder.BuilderResult(None, INTERRUPTED)
        text = "the compiler crashed" if crashed else str(done.value)
        return ms.builder.BuilderResult(None, text)

    def close(self) -> None:
        """End the processes."""
        self.pool.shutdown()


def local_runner(
    evaluation: Evaluation, limits: Limits, initializer: Callable[[], None]
) -> ms.Runner:
    """Make TVM's runner on this machine, in a process that survives no crash."""
    return ms.runner.LocalRunner(
        timeout_sec=limits.run_seconds,
        evaluator_config=limits.evaluator(),
        f_alloc_argument=no_arguments,
        f_run_evaluator=evaluation,
        initializer=initializer,
    )


def rpc_runner(evaluation: Evaluation, limits: Limits, tracker: Tracker, devices: int) -> ms.Runner:
    """Make TVM's runner on ``devices`` devices that a tracker lends."""
    config = ms.runner.RPCConfig(
        tracker_host=tracker.host,
        tracker_port=tracker.port,
        tracker_key=tracker.key,
        session_timeout_sec=int(limits.run_seconds),
    )
    return ms.runner.RPCRunner(
        config,
        limits.evaluator(),
        f_alloc_argument=no_arguments,
        f_run_evaluator=evaluation,
        max_workers=devices,
        initializer=ignore_interrupts,
    )
