"""``dcc bench --energy``: the proxy of a module, of the same model in each form, and counters."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcc.energy import ModuleEnergy, module_energy
from dcc.energy_counters import MeasuredEnergy, find_counters, measure_energy
from dcc.errors import DccError
from dcc.progress import report
from dcc.random_inputs import Range, random_inputs

FORMS = ("dense", "codebook", "sparse", "huffman")


@dataclass(frozen=True)
class EnergyBenchmark:
    """Proxies, and measurements where there are counters.

    Attributes
    ----------
    forms
        Storage form -> the proxy of the model with that form wherever it is possible.
    failures
        Form -> why there is none.
    measured
        What the counters of this machine measured of the module.
    not_measured
        Why a counter was not read.
    """

    module: ModuleEnergy
    forms: Mapping[str, ModuleEnergy] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    measured: list[MeasuredEnergy] = field(default_factory=list)
    not_measured: list[str] = field(default_factory=list)

    def by_layer(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Each layer with picojoules by form, in the dense form's order; then the whole model."""
        tables = {
            form: {layer.name: layer.total for layer in energy.layers}
            for form, energy in self.forms.items()
        }
        names = dict.fromkeys(name for table in tables.values() for name in table)
        for name in names:
            yield name, {form: table[name] for form, table in tables.items() if name in table}
        yield "all", {form: energy.total for form, energy in self.forms.items()}

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return {
            "proxy": self.module.to_json(),
            "forms": {form: energy.to_json() for form, energy in self.forms.items()},
            "failures": dict(self.failures),
            "measured": [each.to_json() for each in self.measured],
            "not_measured": self.not_measured,
        }


def benchmark_energy(
    module: str | Path,
    model: str | Path | None = None,
    *,
    ranges: Mapping[str, Range] | None = None,
    seed: int = 0,
    measure: bool = True,
    seconds: float = 1.0,
) -> EnergyBenchmark:
    """Account for the energy of a module.

    Parameters
    ----------
    module
        A compiled module; its own counts are read, nothing is compiled.
    model
        The ONNX or ``.dcz`` file that it was compiled from: counted again in each form, for the
        module's target and by its recipe, to compare the proxies.
    measure
        Whether to run the module for ``seconds`` and read the machine's counters.

    Raises
    ------
    ModuleError
        The module is missing, damaged, or holds no counts.
    """
    from dcc.codegen.module_file import read_metadata

    energy = module_energy(module)
    metadata = read_metadata(module)
    forms: dict[str, ModuleEnergy] = {}
    failures: dict[str, str] = {}
    if model is not None:
        forms, failures = _compare_forms(model, metadata)
    measured: list[MeasuredEnergy] = []
    why: list[str] = []
    if measure:
        measured, why = _measure(module, metadata, ranges, seed, seconds)
    return EnergyBenchmark(energy, forms, failures, measured, why)


def _compare_forms(
    model: str | Path, metadata: Mapping[str, Any]
) -> tuple[dict[str, ModuleEnergy], dict[str, str]]:
    """Count the model in each form, for the module's target."""
    from dcc.container import is_container
    from dcc.energy_counting import model_energy

    target = str(metadata["target"].get("name", "host"))
    recipe = None if is_container(Path(model)) else _recipe(metadata)
    shapes = {spec["name"]: spec["shape"] for spec in metadata["inputs"]}
    forms: dict[str, ModuleEnergy] = {}
    failures: dict[str, str] = {}
    for number, form in enumerate(FORMS):
        report(f"counting the form {form}", number, len(FORMS))
        try:
            if "accelerator" in metadata:
                forms[form] = _compiled(model, target, recipe, form, shapes)
            else:
                forms[form] = model_energy(str(model), target, recipe, form, shapes=shapes)
        except DccError as error:
            failures[form] = str(error)
    report("counting the forms", len(FORMS), len(FORMS))
    return forms, failures


def _compiled(
    model: str | Path, target: str, recipe: Any, form: str, shapes: Mapping[str, Any]
) -> ModuleEnergy:
    """Compile a module, whose streams are counted."""
    from dcc.compilation import compile as compile_model

    with tempfile.TemporaryDirectory(prefix="dcc-energy-") as folder:
        output = Path(folder) / "module.so"
        compile_model(str(model), output, target, recipe=recipe, storage=form, shapes=shapes)
        return module_energy(output)


def _recipe(metadata: Mapping[str, Any]) -> Any:
    """Recipe that the module was compiled with."""
    from dcc.compression import recipe_of

    described = metadata.get("source", {}).get("recipe")
    return recipe_of(described) if described else None


def _measure(
    module: str | Path,
    metadata: Mapping[str, Any],
    ranges: Mapping[str, Range] | None,
    seed: int,
    seconds: float,
) -> tuple[list[MeasuredEnergy], list[str]]:
    if "accelerator" in metadata:
        return [], ["the accelerator is simulated"]
    found = find_counters(cards="device" in metadata)
    if not found.counters:
        return [], found.missing
    from dcc.runtime import load

    try:
        loaded = load(module)
        inputs = random_inputs(loaded.inputs, seed, ranges)
        return measure_energy(lambda: loaded(inputs), found.counters, seconds), found.missing
    except DccError as error:
        return [], [*found.missing, f"the module does not run here: {error}"]
    except OSError as error:
        return [], [*found.missing, f"a counter cannot be read any more: {error}"]
