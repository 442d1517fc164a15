"""The search: MetaSchedule's task scheduler over the layers of a model.

The default schedule of every layer is measured first; the share of the model's time that it takes
is the weight of the layer's task. Then TVM's gradient scheduler shares out the trials.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from dcc.schedules.tuning.answering import AnsweringBuilder, AnsweringRunner, Desk
from dcc.schedules.tuning.candidate import Candidate, Space
from dcc.schedules.tuning.evolution import (
    WhileOpen,
    evolution,
    tune_context,
    tuning_target,
)
from dcc.schedules.tuning.features import CandidateFeatures
from dcc.schedules.tuning.measurements import Measurement, Measurements, best_of
from dcc.schedules.tuning.stub import LAYER_KEY, candidate_of, schedule_of, stub_module

LARGEST_BATCH = 8
WARM_UP = 8
"""Candidates that are measured before the cost model predicts anything."""
ROUNDS_OF_THE_MODEL = 20


@dataclass(frozen=True)
class SearchTask:
    """One layer.

    Attributes
    ----------
    count
        How often the model computes it.
    """

    key: str
    space: Space
    count: int = 1


@dataclass(frozen=True)
class Budget:
    """How many candidates are tried, those of earlier runs among them.

    Attributes
    ----------
    total
        Of all layers together.
    per_layer
        Of one layer at most.
    whole
        Whether that is every candidate.
    """

    total: int
    per_layer: int
    whole: bool = False


@dataclass
class Search:
    """State of a search.

    Attributes
    ----------
    storage
        The storage form that was asked for, or ``auto``: a workload of its own for TVM.
    stopped
        Asked between measurements: whether to finish.
    observe
        Called after each batch.
    device_type
        Of TVM: where candidates compute.
    """

    tasks: Sequence[SearchTask]
    measurements: Measurements
    database: ms.database.Database
    builder: ms.Builder | None
    runner: ms.Runner | None
    budget: Budget
    seed: int = 0
    storage: str = "auto"
    stopped: Callable[[], bool] = lambda: False
    observe: Callable[[Search, SearchTask], None] = lambda _search, _task: None
    device_type: str = "cpu"
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        self.spaces = {task.key: task.space for task in self.tasks}
        self.of_key = {task.key: task for task in self.tasks}
        self.desk = Desk(self.spaces, self.measurements, self._room)
        self.answering_builder = AnsweringBuilder(self.desk, self.builder)
        self.answering_runner = AnsweringRunner(self.desk, self.runner)
        self.modules = {
            task.key: stub_module(task.space, task.key, self.storage) for task in self.tasks
        }
        self.committed = self._in_database()

    def trials(self, task: SearchTask) -> int:
        """Count the candidates of a layer that were tried."""
        measured = self.measurements.of_layer(task.key)
        return sum(candidate.form in task.space.forms for candidate in measured)

    def best(self, task: SearchTask) -> Candidate | None:
        """Return the fastest candidate of a layer so far; None where all failed."""
        measured = self.measurements.of_layer(task.key).items()
        fastest = best_of((c, m) for c, m in measured if c.form in task.space.forms)
        return fastest[0] if fastest else None

    def seconds(self, task: SearchTask, candidate: Candidate | None) -> float:
        """Return the measured time of a candidate."""
        measured = None if candidate is None else self.measurements.get(task.key, candidate)
        return (measured or Measurement()).median

    def speedup(self) -> float:
        """Time of the default schedules of all layers over that of the best so far."""
        before = after = 0.0
        for task in self.tasks:
            default = self.seconds(task, task.space.default)
            best = self.seconds(task, self.best(task))
            if np.isfinite(default) and np.isfinite(best):
                before += task.count * default
                after += task.count * min(best, default)
        return before / after if after else 1.0

    def run(self, *, guided: bool = True) -> None:
        """Measure the defaults, then search; ``guided`` False draws at random."""
        for task in self.tasks:
            self._measure_defaults(task)
        tasks = sorted(
            (task for task in self.tasks if self._open(task)), key=self._share, reverse=True
        )
        if not tasks or self._done():
            return
        random.seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002  (XGBModel draws its warm-up from it)
        contexts = [self._context(n, task, guided=guided) for n, task in enumerate(tasks)]
        batch = self._batch(len(tasks))
        scheduler = ms.task_scheduler.GradientBased(seed=self.seed + 1)
        scheduler.tune(
            contexts,
            [self._share(task) for task in tasks],
            # The strategies end the tasks: recorded answers are no trials.
            max_trials_global=1 << 20,
            max_trials_per_task=1 << 20,
            num_trials_per_iter=batch,
            builder=self.answering_builder,
            runner=self.answering_runner,
            measure_callbacks=[_TakeIn(self, tasks), ms.measure_callback.UpdateCostModel()],
            database=self.database,
            cost_model=self._cost_model() if guided else ms.cost_model.RandomModel(),
        )

    def sweep(self) -> None:
        """Measure every candidate, the default first; the budget does not matter."""
        self.desk.room = lambda _layer: sys.maxsize
        for task in self.tasks:
            candidates = [task.space.default, *task.space]
            for first in range(0, len(candidates), LARGEST_BATCH):
                if not self.stopped():
                    self.measure(task, candidates[first : first + LARGEST_BATCH])
                    self.observe(self, task)

    def commit(self, schedule: Any, module: tvm.IRModule, seconds: Sequence[float]) -> None:
        """Add a candidate that answered to TVM's records, once."""
        key = str(module["main"].attrs[LAYER_KEY])
        candidate = candidate_of(schedule.trace, self.spaces[key])
        if (key, candidate) in self.committed:
            return
        self.committed.add((key, candidate))
        self.database.commit_tuning_record(
            ms.database.TuningRecord(
                schedule.trace,
                self.database.commit_workload(module),
                [float(second) for second in seconds],
                tuning_target(self.spaces[key].target),
                ms.arg_info.ArgInfo.from_prim_func(module["main"]),
            )
        )

    def measure(self, task: SearchTask, candidates: Sequence[Candidate]) -> None:
        """Measure some candidates of a layer, unless they are known."""
        module = self.modules[task.key]
        target = tuning_target(task.space.target)
        schedules = [schedule_of(task.space, module, c, self.seed + 1) for c in candidates]
        inputs = [ms.builder.BuilderInput(schedule.mod, target) for schedule in schedules]
        built = self.answering_builder.build(inputs)
        arguments = ms.arg_info.ArgInfo.from_prim_func(module["main"])
        for schedule, result in zip(schedules, built, strict=True):
            if result.error_msg is not None:
                continue
            ready = ms.runner.RunnerInput(result.artifact_path, self.device_type, arguments)
            answer = self.answering_runner.run([ready])[0].result()
            if answer.error_msg is None:
                self.commit(schedule, module, answer.run_secs)

    def _context(self, number: int, task: SearchTask, *, guided: bool) -> ms.TuneContext:
        strategy = evolution() if guided else ms.search_strategy.ReplayTrace()
        ending = WhileOpen(strategy, lambda: self._open(task) and not self._done())
        module, seed = self.modules[task.key], self.seed + 1 + number
        return tune_context(module, task.space, f"layer{number}", seed, ending)

    def _measure_defaults(self, task: SearchTask) -> None:
        """Measure the default schedule, and those of the other forms where trials are left."""
        defaults = task.space.defaults()
        share = max(1, min(self.budget.per_layer, self.budget.total // len(self.tasks)) // 2)
        if not self._done():
            self.measure(task, defaults[: max(1, share)])
            self.observe(self, task)

    def _in_database(self) -> set[tuple[str, Candidate]]:
        found = set()
        for record in self.database.get_all_tuning_records():
            module = record.workload.mod
            attributes = module["main"].attrs
            key = str(attributes[LAYER_KEY])
            mine = self.modules.get(key)
            if mine is not None and tvm_ffi.structural_equal(module, mine):
                found.add((key, candidate_of(record.trace, self.spaces[key])))
        return found

    def _batch(self, tasks: int) -> int:
        return max(2, min(LARGEST_BATCH, self.budget.per_layer // 4, self.budget.total // tasks))

    def _share(self, task: SearchTask) -> float:
        """Seconds of the model that the default schedule takes."""
        default = self.seconds(task, task.space.default)
        return task.count * (default if np.isfinite(default) else 1e-3)

    def _room(self, key: str) -> int:
        """How many more candidates of a layer may be measured."""
        left = self.budget.total - sum(map(self.trials, self.tasks))
        return max(0, min(left, self.budget.per_layer - self.trials(self.of_key[key])))

    def _open(self, task: SearchTask) -> bool:
        return self.trials(task) < self.budget.per_layer and len(task.space.forms) > 0

    def _done(self) -> bool:
        return self.stopped() or sum(map(self.trials, self.tasks)) >= self.budget.total

    def _cost_model(self) -> ms.CostModel:
        config = ms.cost_model.xgb_model.XGBConfig(max_depth=6, eta=0.3, seed=self.seed, nthread=1)
        return ms.cost_model.XGBModel(
            extractor=CandidateFeatures(self.spaces),
            config=config,
            num_warmup_samples=WARM_UP,
            early_stopping_rounds=ROUNDS_OF_THE_MODEL,
            adaptive_training=False,
        )


@derived_object
class _TakeIn(ms.measure_callback.PyMeasureCallback):
    """Commits what answered."""

    def __init__(self, search: Search, tasks: list[SearchTask]) -> None:
        super().__init__()
        self.search = search
        self.tasks = tasks

    def apply(
        self,
        task_scheduler: ms.TaskScheduler,
        task_id: int,
        measure_candidates: list[ms.MeasureCandidate],
        builder_results: list[ms.builder.BuilderResult],
        runner_results: list[ms.runner.RunnerResult],
    ) -> None:
        """Take in one batch."""
        search, task = self.search, self.tasks[task_id]
        for candidate, result in zip(measure_candidates, runner_results, strict=True):
            if result.error_msg is None:
                search.commit(candidate.sch, search.modules[task.key], result.run_secs)
        search.observe(search, task)
