"""``dcc.report``: compress a model, compile it for targets, and gather what a user decides by."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import onnx

from dcc.compression import compress_model
from dcc.container import Container
from dcc.datasets import LabelledData, read_test
from dcc.errors import InputError
from dcc.files import atomic_write, check_writable, refuse_same_file
from dcc.machine import available_processors, machine_facts
from dcc.passes.options import Recipe
from dcc.passes.select_storage import check_choice
from dcc.progress import track
from dcc.random_inputs import Range
from dcc.recipe_writing import recipe_yaml
from dcc.reporting.accuracy_points import recipe_points, stage_points, stages_with_accuracy
from dcc.reporting.builds import Builds, Shapes
from dcc.reporting.devices import device_facts
from dcc.reporting.facts import (
    AUTO,
    STAGES,
    CompressionReport,
    Data,
    Layer,
    Point,
    Provenance,
    Stage,
)
from dcc.reporting.layers import layers_of
from dcc.reporting.source import ReportSource, read_source
from dcc.reporting.stages import summed
from dcc.reporting.timing import TimingOptions
from dcc.targets.registry import get_target
from dcc.targets.target import Target


def report(
    model: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    recipe: str | PathLike[str] | Recipe | None = None,
    targets: Sequence[str | Target] = ("host",),
    data: str | PathLike[str] | None = None,
    *,
    json_output: str | PathLike[str] | None = None,
    compare: Sequence[str] = (),
    scale: float | None = None,
    samples: int | None = None,
    shapes: Shapes | None = None,
    objective: str = "latency",
    database: str | PathLike[str] | None = None,
    threads: int | None = None,
    ranges: Mapping[str, Range] | None = None,
    seed: int = 0,
) -> CompressionReport:
    """Report what a recipe makes of a model: bytes, time, energy proxies and accuracy.

    Parameters
    ----------
    model
        Path of an ONNX file, or of a container, which is compressed already.
    output
        Where the page is written; None writes none.
    recipe
        How to compress an ONNX model, see :func:`dcc.compress`; default ``deep-compression``.
    targets
        Names of devices, or devices; the model is compiled for each in every storage form.
    data
        Labelled data for accuracies, see :func:`dcc.datasets.read_test`.
    json_output
        Where the facts are written as JSON.
    compare
        Other recipes to show beside this one: size against accuracy.
    scale
        Divide the samples by this number (default: 256 for IDX files, else 1).
    samples
        Measure accuracy on so many samples, the first ones; None takes all.
    shapes, objective, database
        As for :func:`dcc.compile`.
    threads
        Of what is measured; default: the processors this process may use.
    ranges, seed
        Of the random inputs that modules are timed on, see :mod:`dcc.random_inputs`.

    Raises
    ------
    ModelError, ContainerError, RecipeError, TargetError, CompileError, InputError, OutputError
        Something that was asked for does not exist, does not fit, or cannot be written. A device
        that cannot be compiled for or timed here is none: the report says why.
    """
    for path in (output, json_output):
        if path is not None:
            refuse_same_file(path, model)
            check_writable(path)
    check_choice(AUTO, objective)
    devices = [each if isinstance(each, Target) else get_target(each) for each in targets]
    source = read_source(model, recipe)
    if compare and (data is None or source.model is None):
        raise InputError("--compare shows size against accuracy: give --data, and an ONNX model")
    tested = None if data is None else _test_data(data, scale, samples)
    threads = threads or available_processors()
    timing = TimingOptions(threads, seed, ranges)
    options = {
        "targets": [device.name for device in devices],
        "objective": objective,
        "shapes": {name: list(shape) for name, shape in (shapes or {}).items()},
        "threads": threads,
        "ranges": {name: list(limits) for name, limits in (ranges or {}).items()},
        "database": None if database is None else str(database),
        "compare": list(compare),
        "samples": samples,
        "scale": scale,
    }
    container = source.container
    if container is None:
        assert source.model is not None
        assert source.recipe is not None
        container = compress_model(source.model, source.recipe, shapes)
    with tempfile.TemporaryDirectory(prefix="dcc-report-") as folder:
        builds = Builds(container, Path(folder), objective, shapes, database)
        result = _gathered(source, builds, devices, timing, tested, compare, options)
    _write(result, output, json_output)
    return result


def _gathered(
    source: ReportSource,
    builds: Builds,
    devices: Sequence[Target],
    timing: TimingOptions,
    tested: tuple[LabelledData, Data] | None,
    compare: Sequence[str],
    options: dict[str, Any],
) -> CompressionReport:
    """Do the work, the slowest last."""
    container = builds.container
    dense = container.to_onnx() if source.model is None else source.model
    layers = layers_of(container, dense)
    stages = _stages(layers, container, source)
    points: list[Point] = []
    if tested is not None:
        stages = stages_with_accuracy(stages, builds, tested[0], source.model, source.recipe)
        points = stage_points(stages)
        if source.model is not None:
            points += recipe_points(compare, builds, tested[0], source.model)
    reference = _reference(source, dense, builds.folder)
    return CompressionReport(
        _provenance(source, container, timing, options),
        stages,
        layers,
        [device_facts(each, builds, timing, reference) for each in track("targets", devices)],
        points,
        None if tested is None else tested[1],
    )


def _test_data(
    path: str | PathLike[str], scale: float | None, samples: int | None
) -> tuple[LabelledData, Data]:
    data, about = read_test(Path(path), scale)
    if samples is not None and samples < len(data.labels):
        data = LabelledData(data.samples[:samples], data.labels[:samples])
        about += f", the first {samples:,}"
    return data, Data(Path(path).name, len(data.labels), about)


def _stages(layers: list[Layer], container: Container, source: ReportSource) -> list[Stage]:
    """All weights by stage; the two ends are files."""
    files = {"huffman": container.nbytes().total}
    if source.model is not None:
        files["dense"] = source.nbytes
    return [Stage(name, summed(layers, name), files.get(name)) for name in STAGES]


def _reference(source: ReportSource, dense: onnx.ModelProto, folder: Path) -> Path | None:
    """ONNX model for ONNX Runtime, where that is installed."""
    if find_spec("onnxruntime") is None:
        return None
    if source.model is not None:
        return source.path
    path = folder / "model.onnx"
    path.write_bytes(dense.SerializeToString())
    return path


def _provenance(
    source: ReportSource, container: Container, timing: TimingOptions, options: dict[str, Any]
) -> Provenance:
    if source.recipe is not None:
        name, text = source.recipe.name, recipe_yaml(source.recipe)
    else:  # what the container says about itself
        name = str(container.recipe.get("name", ""))
        text = json.dumps(container.recipe, indent=2, ensure_ascii=False)
    return Provenance(
        model=source.path.name,
        model_bytes=source.nbytes,
        model_sha256=source.sha256,
        recipe=name,
        recipe_text=text,
        options=options,
        seed=timing.seed,
        machine=machine_facts(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _write(
    result: CompressionReport,
    output: str | PathLike[str] | None,
    json_output: str | PathLike[str] | None,
) -> None:
    if output is not None:
        with atomic_write(Path(output)) as file:
            file.write(result.to_html().encode())
    if json_output is not None:
        text = json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        with atomic_write(Path(json_output)) as file:
            file.write(text.encode() + b"\n")
