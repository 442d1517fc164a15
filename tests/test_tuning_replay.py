"""The search over a table that was not measured: a smooth function of the tunables."""

from __future__ import annotations

from statistics import median

import pytest
from tuning_runs import HOST, small_model, tasks_of

from dcc.schedules.tuning.candidate import search_space
from dcc.schedules.tuning.measurements import Measurement, Measurements
from dcc.schedules.tuning.replay import trials_to_reach
from dcc.schedules.tuning.search import SearchTask

SEEDS = range(3)


@pytest.fixture(scope="module")
def swept():
    """A task, and a time for every candidate: few of them are nearly the best."""
    layer = tasks_of(small_model()[0])[0]
    space = search_space(layer.shape, layer.weight, HOST, "sparse")
    table = Measurements()
    for candidate in space:
        values = space.every_value(candidate)
        seconds = 1.0 + abs((values["in_flight"] or 1) - 6) * 0.1
        seconds += (values["window"] != 16) * 0.3 + (values["sort"] == 1) * 0.2
        seconds += abs(values["window_align"] - 4) * 0.03
        table.add(layer.key, candidate, Measurement((seconds * 1e-4,)))
    return SearchTask(layer.key, space), table


def test_the_model_finds_the_best_sooner_than_chance(swept):
    task, table = swept
    if len(table.of_layer(task.key)) < 100:
        pytest.skip("without vector units the space has hardly any choices")
    guided = [trials_to_reach(task, table, guided=True, seed=seed) for seed in SEEDS]
    by_chance = [trials_to_reach(task, table, guided=False, seed=seed) for seed in SEEDS]
    assert median(guided) < median(by_chance)
    assert trials_to_reach(task, table, guided=True, seed=SEEDS[0]) == guided[0]


def test_the_default_is_tried_first(swept):
    task, table = swept
    assert trials_to_reach(task, table, guided=True, seed=0, within=1e9) == 1
