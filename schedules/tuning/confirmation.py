"""The last word: the fastest candidates and the default schedule again, in turn.

The fastest of many noisy measurements is fast by luck, too. What is chosen must win where it runs
beside the default; otherwise the default stays.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tvm.s_tir import meta_schedule as ms

from dcc.schedules.tuning.answering import bearing
from dcc.schedules.tuning.candidate import Candidate
from dcc.schedules.tuning.database import Choice
from dcc.schedules.tuning.evolution import tuning_target
from dcc.schedules.tuning.measurements import best_of
from dcc.schedules.tuning.search import Search, SearchTask
from dcc.schedules.tuning.stub import schedule_of

FINALISTS = 3
REAL_WIN = 1.03
"""Least median of the rounds' ratios; in three of four rounds the winner must be faster."""
UNCONFIRMED_WIN = 1.1


def confirmed_choice(search: Search, task: SearchTask, rounds: int) -> Choice:
    """Choose by running the finalists and the default in turn."""
    finalists = finalists_of(search, task)
    trials = search.trials(task)
    if not finalists or search.builder is None or search.runner is None:
        return Choice(None, 1.0, trials)
    candidates = [task.space.default, *finalists]
    paths = _build(search, task, candidates)
    try:
        measured = _rounds(search, task, paths, rounds)
    finally:
        for path in paths:
            if path is not None:
                shutil.rmtree(Path(path).parent, ignore_errors=True)
    if measured is None:
        return unconfirmed_choice(search, task)
    winner, ratio = choose(measured)
    return Choice(candidates[winner].key if winner else None, round(ratio, 4), trials)


def unconfirmed_choice(search: Search, task: SearchTask) -> Choice:
    """Choose by the search's own measurements: a search that was interrupted."""
    best, default = search.best(task), task.space.default
    ratio = search.seconds(task, default) / search.seconds(task, best) if best else 1.0
    won = best is not None and best != default and ratio >= UNCONFIRMED_WIN
    key = best.key if won and best is not None else None
    return Choice(key, round(ratio, 4) if won else 1.0, search.trials(task), confirmed=False)


def finalists_of(search: Search, task: SearchTask) -> list[Candidate]:
    """List the fastest candidates that the search has measured faster than the default."""
    measured = search.measurements.of_layer(task.key)
    limit = search.seconds(task, task.space.default)
    faster = [(c, m) for c, m in measured.items() if c.form in task.space.forms]
    ranked = best_of((c, m) for c, m in faster if m.median < limit and c != task.space.default)
    return ranked[:FINALISTS]


def choose(rounds: Sequence[Sequence[float]]) -> tuple[int, float]:
    """Choose from rounds of seconds, the default first: its number and the default's ratio to it.

    A candidate wins by the median of its rounds, and only if it is no accident.
    """
    winner, best = 0, 1.0
    for number in range(1, len(rounds[0])):
        ratios = sorted(seconds[0] / seconds[number] for seconds in rounds)
        typical, low = median(ratios), ratios[len(ratios) // 4]
        if typical >= REAL_WIN and low > 1 and typical > best:
            winner, best = number, typical
    return winner, best


def _build(search: Search, task: SearchTask, candidates: Sequence[Candidate]) -> list[str | None]:
    assert search.builder is not None
    module, target = search.modules[task.key], tuning_target(task.space.target)
    inputs = [
        ms.builder.BuilderInput(
            bearing(schedule_of(task.space, module, c, search.seed + 1).mod, c), target
        )
        for c in candidates
    ]
    results = search.builder.build(inputs)
    return [None if each.error_msg is not None else str(each.artifact_path) for each in results]


def _rounds(
    search: Search, task: SearchTask, paths: Sequence[str | None], count: int
) -> list[list[float]] | None:
    """Seconds of each library in each round; None where the search is stopped."""
    assert search.runner is not None
    arguments = ms.arg_info.ArgInfo.from_prim_func(search.modules[task.key]["main"])
    rounds = []
    for number in range(count):
        if search.stopped() or paths[0] is None:
            return None
        seconds = [float("inf")] * len(paths)
        # There and back again: what drifts favours nobody.
        for place in sorted(range(len(paths)), reverse=number % 2 == 1):
            path = paths[place]
            ready = ms.runner.RunnerInput(path or "", search.device_type, arguments)
            result = search.runner.run([ready])[0].result() if path is not None else None
            if result is not None and result.error_msg is None:
                seconds[place] = median(float(second) for second in result.run_secs)
        if seconds[0] == float("inf"):
            return None
        rounds.append(seconds)
    return rounds
