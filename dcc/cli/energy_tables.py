"""The tables of ``dcc bench --energy``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dcc.energy import ModuleEnergy
    from dcc.energy_bench import EnergyBenchmark

_PARTS = ("arithmetic", "level1", "level2", "last_level", "dram")
_MICRO = 1e-6


def bench_energy(
    module: str, model: str | None, ranges: Mapping[str, Any], seed: int, measured: bool = True
) -> dict[str, Any]:
    """Print the proxy of a module, by layer, beside other forms if there is a model to compile.

    Returns what ``--json`` writes.
    """
    from dcc.cli.console import shown_progress
    from dcc.energy_bench import benchmark_energy

    with shown_progress():
        result = benchmark_energy(module, model, ranges=dict(ranges), seed=seed, measure=measured)
    print_energy(module, result.module)
    if result.forms:
        print_forms(result)
    _print_measured(result)
    return result.to_json()


def print_energy(module: str, energy: ModuleEnergy) -> None:
    """Print where the energy of one run goes, by layer."""
    from dcc.cli.console import print_table

    parts = [part for part in _PARTS if any(part in row.picojoules for row in energy.layers)]
    rows = [
        (
            layer.name,
            f"{layer.total * _MICRO:,.3f}",
            *(f"{layer.picojoules.get(part, 0.0) * _MICRO:,.3f}" for part in parts),
            f"{sum(layer.operations.values()):,.0f}",
            f"{layer.bytes.get('dram', 0.0):,.0f}",
            layer.form,
        )
        for layer in energy.layers
    ]
    sums = [sum(layer.picojoules.get(part, 0.0) for layer in energy.layers) for part in parts]
    rows.append(
        (
            "all",
            f"{energy.total * _MICRO:,.3f}",
            *(f"{each * _MICRO:,.3f}" for each in sums),
            f"{sum(sum(layer.operations.values()) for layer in energy.layers):,.0f}",
            f"{sum(layer.bytes.get('dram', 0.0) for layer in energy.layers):,.0f}",
            "",
        )
    )
    names = [part.replace("_", " ") for part in parts]
    columns = ("layer", "proxy, uJ", *names, "operations", "bytes from DRAM", "form")
    title = f"{module}: energy proxy of one run on {energy.target}, counted, not measured"
    print_table(title, columns, rows)
    load = sum(layer.total for layer in energy.load)
    if load:
        print(f"decoded once at load: {load * _MICRO:,.3f} uJ (proxy), in no total")
    for note in energy.notes:
        print(f"note: {note}")


def print_forms(result: EnergyBenchmark) -> None:
    """Print the proxy of each form, and the dense one's over it."""
    from dcc.cli.console import print_table

    names = list(result.forms)
    rows = []
    for label, energies in result.by_layer():
        dense = energies.get("dense")
        cells = []
        for name in names:
            value = energies.get(name)
            if value is None:
                cells.append("")
            elif dense and value:
                cells.append(f"{value * _MICRO:,.3f} ({dense / value:.2f}x)")
            else:
                cells.append(f"{value * _MICRO:,.3f}")
        rows.append((label, *cells, ""))
    title = "energy proxy by form, uJ (dense over it); every layer that can have the form has it"
    print_table(title, ("layer", *names, ""), rows)
    for name, why in result.failures.items():
        print(f"{name}: {why}")


def _print_measured(result: EnergyBenchmark) -> None:
    from dcc.cli.console import print_table

    if result.measured:
        rows = [
            (
                each.counter,
                f"{each.joules * 1e6:,.1f}",
                f"{each.watts:.1f}",
                f"{each.calls:,}",
                "",
            )
            for each in result.measured
        ]
        title = "measured by the machine's counters: the whole package or card, all that runs on it"
        print_table(title, ("counter", "uJ a run", "W", "runs", ""), rows)
    for why in result.not_measured:
        print(f"not measured: {why}")
