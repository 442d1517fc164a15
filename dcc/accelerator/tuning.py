"""``dcc tune`` for targets with an accelerator: tile sizes on simulated cycles.

The records are one JSON file in the database's folder, by the shape of the layer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.blocks import block_weights
from dcc.compressed_module import Source, compressed_module
from dcc.errors import OutputError, TuningError
from dcc.files import atomic_write
from dcc.passes.offload.graph import read_graph
from dcc.passes.offload.placement import place_layers
from dcc.passes.offload.quantized_layers import quantized_levels
from dcc.passes.offload.storage import check_form
from dcc.passes.pipeline import rewriting_steps
from dcc.progress import track
from dcc.schedules.vta.layers import ConvLayer, Requantise
from dcc.schedules.vta.operations import bias_in_blocks, blocks_kept
from dcc.schedules.vta.search import TilingSearch
from dcc.schedules.vta.tiling import Tiling
from dcc.targets.target import Target
from dcc.tuning_database import LOCAL
from dcc.tuning_report import TunedLayer, TuningReport
from dcc.tuning_stop import Stop

RECORDS = "accelerator.json"
TRIALS_PER_LAYER = 48


@dataclass
class _Task:
    key: str
    layer: ConvLayer
    kept: npt.NDArray[np.bool_] | None
    names: list[str]


def layer_key(layer: ConvLayer, share: float) -> str:
    """Name a layer's shape in the records; ``share`` of the weight blocks are stored."""
    sizes = f"{layer.batch}x{layer.channels}x{layer.height}x{layer.width}"
    numbers = (*layer.kernel, *layer.strides, *layer.pads, *layer.dilations)
    extras = "bias " * layer.bias + "residual " * (layer.residual is not None)
    window = ",".join(map(str, numbers))
    return f"conv {sizes} to {layer.outputs} window {window} {extras}{round(100 * share)} %"


@dataclass(frozen=True)
class Options:
    """How long to search; see :func:`dcc.tune`."""

    trials: int | None = None
    trials_per_layer: int | None = None
    storage: str = "auto"
    time_limit: float | None = None
    exhaustive: bool = False
    seed: int = 0

    def each(self, tasks: int) -> int:
        """Candidates of one kind of layer at most."""
        if self.exhaustive:
            return sys.maxsize
        each = self.trials_per_layer or TRIALS_PER_LAYER
        return each if self.trials is None else min(each, max(self.trials // max(tasks, 1), 1))


def tune_accelerator(
    source: Source,
    database: str | PathLike[str],
    target: Target,
    recipe: Any,
    shapes: Mapping[str, Sequence[int]] | None,
    runner: str,
    options: Options,
) -> TuningReport:
    """Search tilings of the layers that go to the accelerator; see :func:`dcc.tune`.

    Raises
    ------
    TuningError
        The records are damaged, or a runner is asked for: candidates are simulated here.
    CompileError
        The accelerator has no such storage form.
    """
    check_form(options.storage)
    if runner != LOCAL:
        raise TuningError(f"target '{target.name}' is simulated: the runner is '{LOCAL}'")
    started = time.monotonic()
    folder = Path(database)
    records = read_records(folder)
    tasks = _tasks(source, target, recipe, shapes, options.storage)
    each = options.each(len(tasks))
    tuned = []
    with Stop(options.time_limit) as stop:
        for task in track("tuning", tasks):
            tuned.append(_tune(task, target, records, each, options.seed, stop.asked))
            write_records(folder, records)
    return TuningReport(str(folder), tuned, stop.reason, time.monotonic() - started)


def _tune(
    task: _Task,
    target: Target,
    records: dict[str, Any],
    trials: int,
    seed: int,
    stopped: Callable[[], bool],
) -> TunedLayer:
    assert target.accelerator is not None
    search = TilingSearch(task.layer, target.accelerator, task.kept, seed)
    known = {Tiling(**each["tiling"]): each["cycles"] for each in records.get(task.key, [])}
    search.cycles.update({t: c for t, c in known.items() if t in search.estimates})
    best = search.run(trials, stopped)
    records[task.key] = [
        {"tiling": asdict(tiling), "cycles": cycles} for tiling, cycles in search.cycles.items()
    ]
    default = search.default
    assert default is not None
    frequency = target.accelerator.timing.megahertz * 1e6
    return TunedLayer(
        layers=task.names,
        default=_text(default),
        default_seconds=search.cycles[default] / frequency,
        chosen=_text(best),
        ratio=search.cycles[default] / search.cycles[best],
        trials=len(search.cycles),
        failures=[],
        confirmed=True,
    )


def _text(tiling: Tiling) -> str:
    return (
        f"rows={tiling.rows} columns={tiling.columns} outputs={tiling.outputs} "
        f"inputs={tiling.inputs} order={tiling.order} threads={tiling.threads}"
    )


def _tasks(
    source: Source,
    target: Target,
    recipe: Any,
    shapes: Mapping[str, Sequence[int]] | None,
    storage: str,
) -> list[_Task]:
    """List the kinds of convolutions that go to the accelerator."""
    prepared = compressed_module(source, target, recipe, shapes)
    module = prepared.pipeline.run(prepared.module, rewriting_steps(prepared.table))
    graph = read_graph(module)
    assert target.accelerator is not None
    tasks: dict[str, _Task] = {}
    for placed in [] if graph is None else place_layers(graph, prepared.table, target.accelerator):
        if placed.coded is None or not isinstance(placed.layer, ConvLayer):
            continue
        levels, _ = quantized_levels(placed.coded, placed.layer, prepared.table)
        kept = None if storage == "dense" else blocks_kept(block_weights(levels.decode()))
        share = 1.0 if kept is None else float(kept.mean())
        kept = None if share == 1.0 else kept
        key = layer_key(placed.layer, share)
        # The shift is not known without calibration; nearly all layers have one.
        layer = replace(placed.layer, requantise=Requantise(8))
        zeros = np.zeros(layer.outputs, np.int32) if layer.bias else None
        layer = replace(layer, bias_blocks=bias_in_blocks(layer, zeros))
        task = tasks.setdefault(key, _Task(key, layer, kept, []))
        task.names.append(placed.coded.attributes["layer"])
    return list(tasks.values())


def read_records(database: Path) -> dict[str, Any]:
    """Read what was simulated so far.

    Raises
    ------
    TuningError
        The file is damaged.
    """
    path = database / RECORDS
    if not path.exists():
        return {}
    try:
        records = json.loads(path.read_text())
        for measured in records.values():
            for each in measured:
                Tiling(**each["tiling"])
                float(each["cycles"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TuningError(f"'{path}' cannot be read: {error}; tune again") from None
    return dict(records)


def write_records(database: Path, records: Mapping[str, Any]) -> None:
    """Write the records; OutputError where the folder cannot be written."""
    try:
        database.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write '{database}': {error.strerror or error}") from None
    with atomic_write(database / RECORDS) as file:
        file.write(json.dumps(records, indent=1).encode() + b"\n")


def look_up_tilings(database: Path) -> Callable[[ConvLayer, float], Tiling | None]:
    """Give the best known tiling of a layer; None for layers that were not tuned.

    Raises
    ------
    TuningError
        The folder holds no records, or damaged ones.
    """
    if not (database / RECORDS).exists():
        raise TuningError(
            f"'{database}' is no tuning database of an accelerator: it has no {RECORDS}; "
            "make one with 'dcc tune --target vta-sim --database'"
        )
    records = read_records(database)

    def look_up(layer: ConvLayer, share: float) -> Tiling | None:
        measured = records.get(layer_key(layer, share), [])
        best = min(measured, key=lambda each: float(each["cycles"]), default=None)
        return None if best is None else Tiling(**best["tiling"])

    return look_up
