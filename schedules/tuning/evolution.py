"""What MetaSchedule's evolutionary search needs beside its stock parts.

Its stock mutators move tilings and the like; none of them moves a trace of categorical decisions.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.schedule import Trace

from dcc.schedules.tuning.candidate import Space
from dcc.schedules.tuning.stub import candidate_of, design_space
from dcc.targets.target import Target

POPULATION = 96
GENERATIONS = 3
RANDOM_SHARE = 0.1
"""Of the candidates of a batch that are drawn at random, not by the model's prediction."""
INTRINSICS = "tvm.s_tir.tensor_intrin"


@derived_object
class RedrawDecision(ms.mutator.PyMutator):
    """Draw one categorical decision of a trace anew."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        """Need nothing of the context."""

    def apply(self, trace: Trace, _: object = None) -> Trace | None:
        """Return the changed trace; None where there is nothing to decide."""
        drawn = [i for i in trace.insts if i.kind.name == "SampleCategorical"]
        if not drawn:
            return None
        instruction = self.random.choice(drawn)
        old = int(trace.decisions[instruction])
        others = [n for n in range(len(instruction.attrs[0])) if n != old]
        return trace.with_decision(instruction, self.random.choice(others), remove_postproc=True)

    def clone(self) -> ms.mutator.Mutator:
        """Copy it for another thread."""
        return RedrawDecision(self.random.randrange(1 << 30))


@derived_object
class RefuseConflicts(ms.postproc.PyPostproc):
    """Reject candidates whose values do not go together."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        """Need nothing of the context."""

    def apply(self, schedule: Schedule) -> bool:
        """Whether the candidate may be measured."""
        return self.space.conflict(candidate_of(schedule.trace, self.space)) is None

    def clone(self) -> ms.postproc.Postproc:
        """Copy it for another thread."""
        return RefuseConflicts(self.space)


@derived_object
class WhileOpen(ms.search_strategy.PySearchStrategy):
    """A strategy that has no more candidates when its task is closed.

    TVM's scheduler must not be told to terminate a task while it waits for runs of that task, as it
    does where devices run several at a time.
    """

    def __init__(self, inner: ms.SearchStrategy, is_open: Callable[[], bool]) -> None:
        super().__init__()
        self.inner = inner
        self.is_open = is_open

    def _initialize_with_tune_context(self, context: ms.TuneContext) -> None:
        """Pass on."""
        self.inner._initialize_with_tune_context(context)

    def pre_tuning(self, *arguments: object) -> None:
        """Pass on."""
        self.inner.pre_tuning(*arguments)

    def post_tuning(self) -> None:
        """Pass on."""
        self.inner.post_tuning()

    def generate_measure_candidates(self) -> list[ms.MeasureCandidate] | None:
        """Return the next batch; None ends the task."""
        return self.inner.generate_measure_candidates() if self.is_open() else None

    def notify_runner_results(
        self, candidates: list[ms.MeasureCandidate], results: list[ms.runner.RunnerResult]
    ) -> None:
        """Pass on."""
        self.inner.notify_runner_results(candidates, results)

    def clone(self) -> ms.SearchStrategy:
        """Copy it for another context."""
        return WhileOpen(self.inner.clone(), self.is_open)


def tune_context(
    module: tvm.IRModule, space: Space, name: str, seed: int, strategy: ms.SearchStrategy
) -> ms.TuneContext:
    """Make the context of one task; one thread, so that a seed gives one sequence."""
    generator = ms.space_generator.ScheduleFn(
        design_space(space),
        sch_rules=[],
        postprocs=[RefuseConflicts(space)],
        mutator_probs={RedrawDecision(seed): 1.0},
    )
    with _without_intrinsics():
        return ms.TuneContext(
            module,
            target=tuning_target(space.target),
            space_generator=generator,
            search_strategy=strategy,
            task_name=name,
            rand_state=seed,
            num_threads=1,
        )


def evolution() -> ms.search_strategy.EvolutionarySearch:
    """Make the strategy: small populations, as the spaces have some hundreds of candidates."""
    return ms.search_strategy.EvolutionarySearch(
        population_size=POPULATION,
        init_min_unmeasured=POPULATION // 2,
        genetic_num_iters=GENERATIONS,
        eps_greedy=RANDOM_SHARE,
    )


def tuning_target(target: Target) -> tvm.target.Target:
    """Return the target with the number of cores, which MetaSchedule asks for."""
    if target.gpu is not None:
        return target.tvm_target()
    return tvm.target.Target({**dict(target.options), "num-cores": max(target.cores, 1)})


@contextmanager
def _without_intrinsics() -> Iterator[None]:
    """Keep ``TuneContext`` from importing TVM's tensor intrinsics.

    Parsing those of every processor takes some fifteen seconds, and no stub is tensorized.
    """
    if INTRINSICS in sys.modules:
        yield
        return
    sys.modules[INTRINSICS] = ModuleType(INTRINSICS)
    try:
        yield
    finally:
        del sys.modules[INTRINSICS]
