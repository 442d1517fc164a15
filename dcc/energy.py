"""Energy proxy of a compiled module: what its kernels do, counted, times what each thing costs.

A proxy is a model, not a measurement: no leakage, no instruction fetch, no clock. It says where a
form moves less and computes less. The counts were made from the scheduled kernels and the packed
weights when the module was compiled (:mod:`dcc.passes.count_work`); docs/energy.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from dcc.codegen.module_file import read_metadata
from dcc.codegen.work import WORK, CallWork, ModuleWork, priced, work_from_json
from dcc.errors import ModuleError
from dcc.targets.energy import EnergyTable

OPERATOR = "operator"
"""Form of what computes from no coded weight."""


@dataclass(frozen=True)
class LayerEnergy:
    """One layer, or one kernel of ordinary operators, in one run.

    Attributes
    ----------
    name
        The weight's, as in ``dcc inspect``; of ordinary operators the kernel's.
    form
        Storage form; ``operator`` where no coded weight is read.
    operations
        Kind (``float_add``, ``float_multiply``, ``integer_add``, ...) -> how many.
    bytes
        Level (``level1``, ``level2``, ``last_level``, ``dram``) -> bytes that it delivers or takes.
    picojoules
        Part (``arithmetic`` and the levels) -> energy.
    """

    name: str
    form: str
    operations: Mapping[str, float]
    bytes: Mapping[str, float]
    picojoules: Mapping[str, float]

    @property
    def total(self) -> float:
        """Picojoules of all parts."""
        return sum(self.picojoules.values())


@dataclass(frozen=True)
class ModuleEnergy:
    """One run of a module.

    Attributes
    ----------
    target
        Name of the target that it is compiled for.
    layers
        In the order of their first kernels.
    load
        What is decoded once, when the module is loaded; in no total.
    table
        The energies that the counts were multiplied by, each with its source.
    notes
        What could not be counted, and what was counted as an upper bound.
    """

    target: str
    layers: tuple[LayerEnergy, ...]
    load: tuple[LayerEnergy, ...] = ()
    table: EnergyTable = field(default_factory=EnergyTable)
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Picojoules of all layers."""
        return sum(layer.total for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it; ``kind`` says that nothing of it is measured."""
        return {
            "kind": "proxy",
            "target": self.target,
            "total_picojoules": self.total,
            "layers": [_to_json(layer) for layer in self.layers],
            "load": [_to_json(layer) for layer in self.load],
            "table": self.table.describe(),
            "notes": list(self.notes),
        }


def _to_json(layer: LayerEnergy) -> dict[str, Any]:
    return asdict(layer) | {"total_picojoules": layer.total}


def module_energy(
    module: str | PathLike[str],
    *,
    table: EnergyTable | None = None,
    resident: bool = False,
) -> ModuleEnergy:
    """Energy proxy of one run of a module, by layer.

    Parameters
    ----------
    module
        The path of a compiled module, or what :func:`dcc.compile` returned.
    table
        Energies to count with; default: those of the module's target.
    resident
        Weights that all fit the last cache level, with the activations, stay there from run to run.
        By default each run finds the caches cold, and every packed byte comes from main memory.

    Raises
    ------
    ModuleError
        The file is missing, damaged, or holds no counts (an older version compiled it).
    """
    path = Path(module)
    metadata = read_metadata(path)
    work = _work_of(metadata, path)
    forms = {layer["name"]: layer["form"] for layer in metadata.get("layers", [])}
    name = str(metadata["target"].get("name", ""))
    energy = energy_of_work(name, work, forms, table=table, resident=resident)
    if "accelerator" in metadata:
        from dcc.accelerator.energy import accelerator_layers

        offloaded = accelerator_layers(path, metadata, energy.table)
        energy = replace(energy, layers=(*offloaded, *energy.layers))
    return energy


def energy_of_work(
    target: str,
    work: ModuleWork,
    forms: Mapping[str, str],
    *,
    table: EnergyTable | None = None,
    resident: bool = False,
) -> ModuleEnergy:
    """Price what the kernels of a module do; ``forms`` are the storage forms by layer."""
    table = work.table if table is None else table
    stays = resident and work.touched <= work.last_level
    layers = _layers(work.calls, forms, table, stays)
    return ModuleEnergy(target, layers, _layers(work.load, forms, table, False), table, work.notes)


def _work_of(metadata: Mapping[str, Any], path: Path) -> ModuleWork:
    if WORK not in metadata:
        raise ModuleError(
            f"'{path}' holds no counts of its work, which the energy proxy needs: compile it again"
        )
    try:
        return work_from_json(metadata[WORK])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ModuleError(
            f"'{path}': the counts of its work are damaged ({error}): compile it again"
        ) from None


def _layers(
    calls: Iterable[CallWork], forms: Mapping[str, str], table: EnergyTable, stays: bool
) -> tuple[LayerEnergy, ...]:
    """Add up the calls of each layer, and price them."""
    operations: dict[str, dict[str, float]] = {}
    moved: dict[str, dict[str, float]] = {}
    found: dict[str, str] = {}
    for call in calls:
        name = call.layer or call.kernel
        found.setdefault(name, forms.get(call.layer, OPERATOR) if call.layer else OPERATOR)
        _add(operations.setdefault(name, {}), call.operations)
        _add(moved.setdefault(name, {}), call.bytes)
        if stays:
            moved[name]["dram"] -= call.weights
    return tuple(
        layer_energy(name, form, operations[name], moved[name], table)
        for name, form in found.items()
    )


def _add(total: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0.0) + value


def layer_energy(
    name: str,
    form: str,
    operations: Mapping[str, float],
    moved: Mapping[str, float],
    table: EnergyTable,
) -> LayerEnergy:
    """Price the counts of a layer."""
    parts = priced(operations, moved, table)
    return LayerEnergy(name, form, dict(operations), dict(moved), parts)
