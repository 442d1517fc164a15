"""Time of modules by layer: measured where they run here, else estimated or simulated."""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dcc.compilation import CompiledModule
from dcc.contenders import Kind
from dcc.errors import DccError, TargetError
from dcc.machine import available_processors, machine_facts
from dcc.measuring import Worker
from dcc.progress import track
from dcc.random_inputs import Range, random_inputs
from dcc.reporting import facts
from dcc.reporting.builds import Builds
from dcc.targets.cuda import find_card
from dcc.targets.target import Target
from dcc.targets.toolchain import is_native
from dcc.tensor_spec import TensorSpec

_log = logging.getLogger(__name__)
REFERENCE: Literal["onnxruntime"] = "onnxruntime"


@dataclass(frozen=True)
class ModuleTime:
    """One run of a module, in seconds; ``other`` is what belongs to no layer."""

    total: float
    layers: dict[str, float]
    other: float
    p10: float | None = None
    p90: float | None = None


@dataclass(frozen=True)
class TargetTimes:
    """What is known about the time on one target.

    Attributes
    ----------
    modules
        By choice of storage.
    failures
        Why a choice has no time.
    reference
        Seconds of ONNX Runtime on the dense model, where it was measured beside ours.
    """

    timing: facts.Timing
    about: str
    modules: dict[str, ModuleTime] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    reference: float | None = None


@dataclass(frozen=True)
class TimingOptions:
    """How to measure; see :func:`dcc.report`.

    Attributes
    ----------
    rounds, block_seconds
        Each module gets so many blocks of at least so long.
    layer_rounds
        Layers are measured in ten times so many runs.
    """

    threads: int = field(default_factory=available_processors)
    seed: int = 0
    ranges: Mapping[str, Range] | None = None
    rounds: int = 5
    block_seconds: float = 0.1
    layer_rounds: int = 2

    def inputs(self, module: CompiledModule) -> dict[str, np.ndarray]:
        """Draw inputs for a module."""
        specs = [TensorSpec.from_json(spec) for spec in module.metadata["inputs"]]
        return random_inputs(specs, self.seed, self.ranges)


def time_target(
    target: Target,
    modules: Mapping[str, CompiledModule],
    builds: Builds,
    options: TimingOptions,
    reference: Path | None = None,
) -> TargetTimes:
    """Time the modules of a target, by choice of storage, in the way that fits it.

    Parameters
    ----------
    reference
        ONNX model that ONNX Runtime runs beside modules that are measured.
    """
    try:
        if target.accelerator is not None:
            return _simulated(target, modules, options)
        if target.gpu is not None and find_card() is None:
            raise TargetError("it needs a CUDA card, which this machine lacks")
        if target.gpu is not None or is_native(target.triple):
            return _measured(modules, options, reference)
        return _estimated(target, modules, builds, options)
    except DccError as error:
        return TargetTimes("none", f"It cannot be timed here: {error}.")


def _measured(
    modules: Mapping[str, CompiledModule], options: TimingOptions, reference: Path | None
) -> TargetTimes:
    """All modules in turn in one process, then each alone, kernel by kernel."""
    some = next(iter(modules.values()))
    contenders: dict[str, tuple[Kind, Path]] = {
        storage: ("dcc", module.path) for storage, module in modules.items()
    }
    with tempfile.TemporaryDirectory(prefix="dcc-report-") as name:
        inputs = Path(name) / "inputs.npz"
        np.savez(inputs, **options.inputs(some))  # type: ignore[arg-type]
        worker = Worker(Path(name), inputs, options.threads, options.rounds, options.block_seconds)
        taken = _latencies(worker, contenders, reference)
        worker = replace(worker, rounds=options.layer_rounds)
        times = {
            storage: _measured_time(module, taken[storage], worker)
            for storage, module in _tracked("measuring", modules)
        }
    processor = machine_facts()["processor"]
    about = (
        f"Measured on this machine ({processor}), {options.threads} threads: medians of all forms "
        "in turn in one process. Times by layer were measured call by call, which adds up to a "
        "microsecond to each."
    )
    seconds = taken[REFERENCE]["median_seconds"] if REFERENCE in taken else None
    return TargetTimes("measured", about, times, reference=seconds)


def _latencies(
    worker: Worker, contenders: Mapping[str, tuple[Kind, Path]], reference: Path | None
) -> dict[str, dict[str, Any]]:
    """Measure ours, beside ONNX Runtime if it can run the model."""
    if reference is not None:
        try:
            return worker.latencies({**contenders, REFERENCE: (REFERENCE, reference)})
        except DccError as error:
            _log.info("without ONNX Runtime: %s", error)
    return worker.latencies(contenders)


def _measured_time(module: CompiledModule, taken: Mapping[str, Any], worker: Worker) -> ModuleTime:
    kernels = [(each.name, each.seconds) for each in worker.kernels(module.path)]
    layers, other = _by_layer(kernels, module.metadata["kernel_layers"])
    tenths = taken["p10_seconds"], taken["p90_seconds"]
    return ModuleTime(taken["median_seconds"], layers, other, *tenths)


def _estimated(
    target: Target,
    modules: Mapping[str, CompiledModule],
    builds: Builds,
    options: TimingOptions,
) -> TargetTimes:
    """By the model of the core's pipeline, from code that an emulator runs."""
    from dcc.estimation import estimate

    inputs = options.inputs(next(iter(modules.values())))

    def time(storage: str, _module: CompiledModule) -> ModuleTime:
        found = estimate(
            builds.container,
            inputs,
            target,
            storage=storage,
            objective=builds.objective,
            shapes=builds.shapes,
            database=builds.database,
        )
        kernels = [(name, each.nanoseconds * 1e-9) for name, each in found.kernels]
        layers, other = _by_layer(kernels, found.layers)
        return ModuleTime(found.nanoseconds * 1e-9, layers, other)

    about = (
        "Estimated, not measured: cycles of one core by LLVM's model of its pipeline for the code "
        "as an emulator ran it, or the memory's bandwidth where that takes longer."
    )
    return _each("estimated", about, modules, time)


def _simulated(
    target: Target, modules: Mapping[str, CompiledModule], options: TimingOptions
) -> TargetTimes:
    """Cycles of the accelerator's simulator; what stays on the host is not timed."""
    from dcc.accelerator.report import measure_operations

    assert target.accelerator is not None
    clock = target.accelerator.timing.megahertz * 1e6

    def time(_storage: str, module: CompiledModule) -> ModuleTime:
        offloaded = {layer["name"] for layer in module.metadata["layers"]}
        operations = measure_operations(module.path, options.inputs(module))
        taken = [(each.operation.name, each.run.cycles / clock) for each in operations]
        layers, other = _by_layer(taken, {name: name for name in offloaded})
        return ModuleTime(sum(seconds for _, seconds in taken), layers, other)

    about = (
        f"Simulated, not measured: cycles of the accelerator at {clock * 1e-6:g} MHz, with those "
        "in which it waits for the host. Operators that stay on the host are not in it."
    )
    return _each("simulated", about, modules, time)


def _each(
    timing: facts.Timing,
    about: str,
    modules: Mapping[str, CompiledModule],
    time: Callable[[str, CompiledModule], ModuleTime],
) -> TargetTimes:
    """Time module by module; a failure of all is one of the target."""
    times: dict[str, ModuleTime] = {}
    failures: dict[str, str] = {}
    for storage, module in _tracked(timing, modules):
        found = _attempt(time, storage, module)
        if isinstance(found, ModuleTime):
            times[storage] = found
        else:
            failures[storage] = str(found)
    if not times:
        raise DccError(next(iter(failures.values())))
    return TargetTimes(timing, about, times, failures)


def _attempt(
    time: Callable[[str, CompiledModule], ModuleTime], storage: str, module: CompiledModule
) -> ModuleTime | DccError:
    try:
        return time(storage, module)
    except TargetError:
        raise  # a tool is missing: the next module needs it as well
    except DccError as error:
        return error


def _tracked(
    stage: str, modules: Mapping[str, CompiledModule]
) -> Iterable[tuple[str, CompiledModule]]:
    return track(stage, list(modules.items()))


def _by_layer(
    parts: Iterable[tuple[str, float]], layer_of: Mapping[str, str]
) -> tuple[dict[str, float], float]:
    """Sum what belongs to each layer, and what belongs to none."""
    layers: dict[str, float] = defaultdict(float)
    other = 0.0
    for name, seconds in parts:
        if name in layer_of:
            layers[layer_of[name]] += seconds
        else:
            other += seconds
    return dict(layers), other
