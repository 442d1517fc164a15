"""The search itself: what goes wrong is recorded and passed over, what is known is not measured."""

from __future__ import annotations

import sys

import cloudpickle
import pytest
from tuning_runs import HOST, FaultyBuild, builds, small_model, tasks_of, write_task

from dcc.schedules.tuning.candidate import Candidate, search_space
from dcc.schedules.tuning.confirmation import confirmed_choice
from dcc.schedules.tuning.database import TuningDatabase
from dcc.schedules.tuning.evaluation import Evaluation
from dcc.schedules.tuning.search import Budget, Search, SearchTask
from dcc.schedules.tuning.workers import (
    BuildInWorker,
    Limits,
    PersistentBuilder,
    ignore_interrupts,
    local_runner,
)

pytestmark = pytest.mark.skipif(
    not HOST.features & {"avx2"}, reason="the faults are told by slices in flight"
)


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """A search whose builder goes wrong in six ways, and the state that it leaves."""
    monkeypatch.chdir(tmp_path)  # where no folder is taken for the package
    cloudpickle.register_pickle_by_value(sys.modules["tuning_runs"])
    task = tasks_of(small_model()[0])[0]
    write_task(task, tmp_path)
    space = search_space(task.shape, task.weight, HOST, "sparse")
    limits = Limits(build_seconds=4, run_seconds=20, repeats=3, block_milliseconds=1)
    build = BuildInWorker(FaultyBuild(builds(tmp_path)), str(tmp_path), {task.key: "layer0"})
    builder = PersistentBuilder(build, limits, 2)
    database = TuningDatabase(tmp_path / "database", {"version": 1}, create=True)
    searched = SearchTask(task.key, space)
    yield Search(
        [searched],
        database.measurements,
        database.records(),
        builder,
        local_runner(Evaluation(str(tmp_path)), limits, ignore_interrupts),
        Budget(7, 7),
    )
    builder.close()
    cloudpickle.unregister_pickle_by_value(sys.modules["tuning_runs"])


def test_faults_are_recorded_and_the_search_goes_on(faulty):
    task = faulty.tasks[0]
    default = task.space.default
    values = dict(default.values)
    faults = {
        1: "the compiler crashed",
        2: "no such kernel",
        3: "the build was killed after 4 s",
        4: "Subprocess terminated",
        6: "wrong answer: off by",
    }
    others = {n: Candidate("sparse", tuple((values | {"in_flight": n}).items())) for n in faults}
    faulty.measure(task, [default, *others.values()])
    measured = faulty.measurements.of_layer(task.key)
    assert measured[default].failure is None
    for number, reason in faults.items():
        assert reason in measured[others[number]].failure
        assert measured[others[number]].seconds == ()
    assert faulty.best(task) == default
    # None of them is among the records of TVM, and the search goes on beside them.
    assert len(faulty.database.get_all_tuning_records()) == 1
    faulty.run()
    assert faulty.trials(task) == 7
    assert faulty.measurements.get(task.key, faulty.best(task)).failure is None
    choice = confirmed_choice(faulty, task, 2)
    assert choice.trials == 7
    assert choice.ratio >= 1
