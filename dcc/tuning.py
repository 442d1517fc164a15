"""``tune``: search the schedules of a model's coded layers, and keep the results in a database."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcc.compilation import check_precision
from dcc.compressed_module import Source, compressed_module
from dcc.errors import TuningError
from dcc.estimation import one_core
from dcc.layer_task import LayerTask, layer_tasks
from dcc.passes.pipeline import SINGLE, rewriting_steps
from dcc.passes.select_storage import check_choice
from dcc.progress import report
from dcc.schedules.tuning.candidate import search_space
from dcc.schedules.tuning.confirmation import confirmed_choice, unconfirmed_choice
from dcc.schedules.tuning.database import TuningDatabase
from dcc.schedules.tuning.evaluation import write_example
from dcc.schedules.tuning.search import Budget, Search, SearchTask
from dcc.schedules.tuning.workers import (
    BuildInWorker,
    Limits,
    PersistentBuilder,
    safe_path,
)
from dcc.targets.processor import core_count
from dcc.targets.registry import get_target
from dcc.targets.target import Target
from dcc.tuning_database import LOCAL, MCA
from dcc.tuning_devices import Devices, find_devices
from dcc.tuning_report import TunedLayer, TuningReport
from dcc.tuning_stop import Stop

if TYPE_CHECKING:
    from dcc.passes.options import Recipe

TRIALS_PER_LAYER = 64
LOG = "tuning.log"
EXTRA = ("xgboost", "psutil", "cloudpickle", "tornado")


def tune(
    source: Source,
    database: str | PathLike[str],
    target: str | Target = "host",
    trials: int | None = None,
    recipe: str | PathLike[str] | Recipe | None = None,
    storage: str = "auto",
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    trials_per_layer: int | None = None,
    runner: str | Devices = LOCAL,
    tracker: str | None = None,
    key: str | None = None,
    time_limit: float | None = None,
    exhaustive: bool = False,
    seed: int = 0,
    limits: Limits | None = None,
    precision: str = SINGLE,
) -> TuningReport:
    """Search for faster schedules of the layers that compute from coded weights.

    The same call goes on where an earlier one was interrupted. Ctrl-C ends the search and keeps
    what was found; so does ``time_limit``.

    Parameters
    ----------
    source
        An ONNX model or a container, or the path of one.
    database
        Folder for the results; for :func:`dcc.compile`.
    trials
        Candidates of all layers together, those of earlier runs among them; each layer's share
        grows with its share of the model's time. Default: 64 for each kind of layer.
    trials_per_layer
        Candidates of one layer at most.
    storage
        ``auto``, or the one storage form whose schedules are searched.
    runner
        ``local``; ``rpc``: the devices that ``tracker`` ("HOST:PORT") lends under ``key``; ``mca``:
        no device, but estimates of cycles by llvm-mca for one core of the target. Or devices of
        one's own.
    time_limit
        Seconds.
    exhaustive
        Measure every candidate, however many there are.
    seed
        Of the search and of the data on which answers are checked.
    limits
        How long a candidate may take.
    precision
        See :func:`dcc.compile`; records of one precision are none of another.

    Raises
    ------
    TuningError
        The database is from another device or version, or the devices cannot be reached.
    ModelError, ContainerError, RecipeError, TargetError, CompileError
        See :func:`dcc.compile`.
    """
    _check_extra()
    device = target if isinstance(target, Target) else get_target(target)
    if device.accelerator is not None:
        from dcc.accelerator.tuning import Options, tune_accelerator

        options = Options(trials, trials_per_layer, storage, time_limit, exhaustive, seed)
        place = runner if isinstance(runner, str) else LOCAL
        return tune_accelerator(source, database, device, recipe, shapes, place, options)
    check_choice(storage, "latency")
    check_precision(device, precision)
    if runner == MCA:
        device = one_core(device)
    for name, value in (("trials", trials), ("trials_per_layer", trials_per_layer)):
        if value is not None and value < 1:
            raise TuningError(f"{name} is {value}: expected at least 1")
    devices = find_devices(device, runner, tracker, key)
    opened = TuningDatabase(Path(database), devices.identity, create=True)
    with opened.locked():
        tasks = model_tasks(source, device, recipe, shapes, precision)
        layers = [(task, search_task(task, device, storage)) for task in tasks]
        layers = [(task, searched) for task, searched in layers if searched.space.forms]
        budget = _budget(trials, trials_per_layer, [searched for _, searched in layers])
        if exhaustive:
            budget = _whole([searched for _, searched in layers])
        session = _Session(opened, device, devices, limits or Limits(), seed, storage, budget)
        with Stop(time_limit) as stop:
            return session.run(layers, stop)


def _check_extra() -> None:
    """Refuse to start without the packages that MetaSchedule needs."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise TuningError(
            f"tuning needs {', '.join(missing)}: pip install '.[tune]' in dcc's source tree"
        )


def model_tasks(
    source: Source,
    device: Target,
    recipe: Any = None,
    shapes: Any = None,
    precision: str = SINGLE,
) -> list[LayerTask]:
    """Return the layers of a model that can be tuned; see :func:`tune`."""
    prepared = compressed_module(source, device, recipe, shapes)
    module = prepared.pipeline.run(prepared.module, rewriting_steps(prepared.table, precision))
    return layer_tasks(module, prepared.table)


def search_task(task: LayerTask, device: Target, storage: str = "auto") -> SearchTask:
    """Return what the search needs to know of a layer."""
    space = search_space(task.shape, task.weight, device, storage)
    return SearchTask(task.key, space, len(task.layers))


def _budget(trials: int | None, per_layer: int | None, tasks: list[SearchTask]) -> Budget:
    each = per_layer or TRIALS_PER_LAYER
    if trials is None:
        trials = sum(min(each, len(list(task.space))) for task in tasks)
    return Budget(trials, per_layer or trials)


def _whole(tasks: list[SearchTask]) -> Budget:
    sizes = [len(list(task.space)) for task in tasks]
    return Budget(sum(sizes), max(sizes, default=0), whole=True)


class _Session:
    """One run of the tuner over a database."""

    def __init__(
        self,
        database: TuningDatabase,
        target: Target,
        devices: Devices,
        limits: Limits,
        seed: int,
        storage: str,
        budget: Budget,
    ) -> None:
        self.database = database
        self.target = target
        self.devices = devices
        self.limits = limits
        self.seed = seed
        self.storage = storage
        self.budget = budget

    def run(self, layers: list[tuple[LayerTask, SearchTask]], stop: Stop) -> TuningReport:
        """Search and confirm; the report tells what the database holds then."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="dcc-tune-") as folder, self._log(), safe_path():
            stop.mark = Path(folder) / "stop"
            names = self._write(layers, Path(folder))
            builder = self._builder(folder, names)
            search = Search(
                [searched for _, searched in layers],
                self.database.measurements,
                self.database.records(),
                builder,
                self.devices.runner(folder, self.limits),
                self.budget,
                self.seed,
                self.storage,
                stop.asked,
                self._observe,
                self.devices.device_type,
            )
            try:
                if self.budget.whole:
                    search.sweep()
                else:
                    search.run()
                self._choose(search, stop)
            finally:
                builder.close()
        tuned = [self._described(search, task, searched) for task, searched in layers]
        seconds = time.monotonic() - started
        return TuningReport(str(self.database.folder), tuned, stop.reason, seconds)

    def _write(self, layers: list[tuple[LayerTask, SearchTask]], folder: Path) -> dict[str, str]:
        """Write what the workers read; names of files by the key of the layer."""
        names = {task.key: f"layer{number}" for number, (task, _) in enumerate(layers)}
        for task, _ in layers:
            task.save(folder / f"{names[task.key]}.layer")
            write_example(folder / f"{names[task.key]}.npz", *task.example(self.seed))
        return names

    def _builder(self, folder: str, names: dict[str, str]) -> PersistentBuilder:
        facts = {field.name: getattr(self.target, field.name) for field in fields(Target)}
        facts["options"] = dict(self.target.options)
        build = BuildInWorker(self.devices.build(folder, facts), folder, names)
        return PersistentBuilder(build, self.limits, core_count())

    def _choose(self, search: Search, stop: Stop) -> None:
        for number, task in enumerate(search.tasks):
            report("measuring the best again", number, len(search.tasks))
            known = self.database.choices.get(task.key, {}).get(self.storage)
            if known is not None and known.confirmed and known.trials == search.trials(task):
                continue
            if stop.asked():
                choice = unconfirmed_choice(search, task)
            else:
                rounds = 1 if self.devices.repeatable else self.limits.rounds
                choice = confirmed_choice(search, task, rounds)
            self.database.choose(task.key, self.storage, choice)

    def _observe(self, search: Search, _task: SearchTask) -> None:
        done = sum(map(search.trials, search.tasks))
        text = f"tuning {len(search.tasks)} layers, best so far {search.speedup():.2f}x the default"
        report(text, min(done, self.budget.total), self.budget.total)

    def _described(self, search: Search, task: LayerTask, searched: SearchTask) -> TunedLayer:
        choice = self.database.choices[searched.key][self.storage]
        measured = self.database.measurements.of_layer(searched.key)
        failures = [m.failure for m in measured.values() if m.failure is not None]
        default = search.seconds(searched, searched.space.default)
        return TunedLayer(
            layers=task.layers,
            default=str(searched.space.default),
            default_seconds=default if default < float("inf") else None,
            chosen=str(choice.parsed() or "default"),
            ratio=choice.ratio,
            trials=choice.trials,
            failures=failures,
            confirmed=choice.confirmed,
        )

    @contextlib.contextmanager
    def _log(self) -> Iterator[None]:
        """Send what MetaSchedule says to the log file of the database."""
        logger = logging.getLogger("tvm.s_tir.meta_schedule")
        handler = logging.FileHandler(self.database.folder / LOG)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        before = (logger.level, logger.propagate)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.setLevel(before[0])
            logger.propagate = before[1]
            logger.removeHandler(handler)
            handler.close()
