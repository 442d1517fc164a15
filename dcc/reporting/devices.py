"""What the model takes on each target: bytes, time and energy proxies by layer and storage form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dcc.compilation import CompiledModule
from dcc.energy import ModuleEnergy, module_energy
from dcc.errors import DccError
from dcc.inspection import inspect
from dcc.layer_report import LayerReport
from dcc.progress import track
from dcc.reporting.builds import Builds, storages_of
from dcc.reporting.facts import AUTO, Device, LayerCost, Variant
from dcc.reporting.timing import ModuleTime, TargetTimes, TimingOptions, time_target
from dcc.targets.target import Target

CONSTANT = "constant"
"""Form of a weight that no layer computes from."""
NO_PROXY = "no energy proxy: "
"""How the note begins that says why there is none."""


def device_facts(
    target: Target, builds: Builds, options: TimingOptions, reference: Path | None = None
) -> Device:
    """Compile the model for a target in every storage form, time it and count its energy proxies.

    What fails on this target is a fact of the report, not an error.

    Parameters
    ----------
    reference
        ONNX model that ONNX Runtime runs beside modules that are measured.
    """
    modules: dict[str, CompiledModule] = {}
    failures: dict[str, str] = {}
    for storage in track(f"compiling for {target.name}", _storages(target, builds)):
        found = builds.attempt(target, storage)
        if isinstance(found, DccError):
            failures[storage] = str(found)
        else:
            modules[storage] = found
    if not modules:
        about = f"It cannot be compiled for here: {failures[AUTO]}."
        return Device(target.name, target.description, "none", about)
    times = time_target(target, modules, builds, options, reference)
    energies = EnergyProxies(modules)
    variants = [
        energies.added_to(_variant(storage, module, times)) for storage, module in modules.items()
    ]
    variants += [
        Variant(storage, notes=[f"not compiled: {why}"]) for storage, why in failures.items()
    ]
    # Messages name files that are gone when the report is read.
    hidden = f"{builds.folder}/"
    return Device(
        target.name,
        target.description,
        times.timing,
        times.about.replace(hidden, ""),
        [
            replace(each, notes=[note.replace(hidden, "") for note in each.notes])
            for each in variants
        ],
        times.reference,
        energies.table,
        energies.notes,
    )


def _storages(target: Target, builds: Builds) -> tuple[str, ...]:
    """List the choices of storage that make a difference: without a coded layer none does."""
    found = builds.attempt(target, AUTO)
    if isinstance(found, DccError):
        return storages_of(target)
    forms = [layer["form"] for layer in found.metadata["layers"]]
    return storages_of(target) if any(form != CONSTANT for form in forms) else (AUTO,)


def _variant(storage: str, module: CompiledModule, times: TargetTimes) -> Variant:
    """Put together what is known about one module and its time."""
    description = inspect(module.path)
    time = times.modules.get(storage)
    layers = [_layer_cost(layer, time) for layer in description.layers if layer.form != CONSTANT]
    variant = Variant(storage, description.file_bytes, layers=layers)
    if storage in times.failures:
        variant.notes.append(f"not timed: {times.failures[storage]}")
    if time is None:
        return variant
    return replace(
        variant,
        seconds=time.total,
        p10_seconds=time.p10,
        p90_seconds=time.p90,
        other_seconds=time.other,
    )


def _layer_cost(layer: LayerReport, time: ModuleTime | None) -> LayerCost:
    seconds = None if time is None else time.layers.get(layer.name)
    return LayerCost(layer.name, layer.form, layer.reason, layer.bytes["total"], seconds)


class EnergyProxies:
    """The energy proxies of the modules for one target.

    Attributes
    ----------
    table
        The energies that the counts were multiplied by.
    notes
        What could not be counted, or was counted as an upper bound, in any module.
    """

    def __init__(self, modules: Mapping[str, CompiledModule]) -> None:
        self.table: dict[str, list[Any]] = {}
        self.notes: list[str] = []
        self._found: dict[str, ModuleEnergy | DccError] = {}
        for storage, module in modules.items():
            try:
                energy = module_energy(module)
            except DccError as error:
                self._found[storage] = error
                continue
            self._found[storage] = energy
            self.table = energy.table.describe()
            self.notes += [note for note in energy.notes if note not in self.notes]

    def added_to(self, variant: Variant) -> Variant:
        """Add the proxies of a variant, by layer and of the rest."""
        energy = self._found[variant.storage]
        if isinstance(energy, DccError):
            return replace(variant, notes=[*variant.notes, f"{NO_PROXY}{energy}"])
        parts: dict[str, Counter[str]] = {}
        for layer in energy.layers:  # a weight that several operators read is there several times
            parts.setdefault(layer.name, Counter()).update(layer.picojoules)
        layers = [
            replace(layer, picojoules=dict(parts.pop(layer.name, {}))) for layer in variant.layers
        ]
        other = sum(sum(each.values()) for each in parts.values())
        return replace(variant, layers=layers, picojoules=energy.total, other_picojoules=other)
