"""Energy proxy of pruned layers: each storage form against dense, beside what papers have measured.

    python benchmarks/energy.py [--layers Alex-6 ...] [--target host] [--batch 1] [--json FILE]
    python benchmarks/energy.py --plot energy.png --speed LAYERS.json --speed-plot speed.png

A proxy: operations and bytes at each level of memory, counted from the scheduled kernels and the
packed weights, times the picojoules of the target's table (docs/energy.md). Nothing of it is
measured; what the papers say is. Two cases: cold (each run brings every packed byte from main
memory) and resident (a layer that fits the last cache level, dense or coded, stays there between
runs).

``--plot`` draws dense over form by layer on a logarithmic scale, as Deep Compression's Figure 10;
``--speed-plot`` the same of times, as its Figure 9, from what ``layers.py --json`` wrote.
``--measure`` compiles the forms and reads the machine's own counters (RAPL), where there are any.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from energy_plots import PAPER, draw_bars
from layer_cases import LAYERS, Case, layer_model
from ratios import geometric_mean, setting, setting_line, write_json
from rich.console import Console
from rich.table import Table

import dcc
from dcc.energy import ModuleEnergy, energy_of_work
from dcc.energy_counters import find_counters, measure_energy
from dcc.energy_counting import model_work
from dcc.targets.registry import get_target
from dcc.targets.target import Target

FORMS = ("dense", "codebook", "sparse", "huffman")
CODED = ("sparse", "huffman")
EIE = {"DRAM to SRAM": 120.0, "sparsity": 10.0, "weight sharing": 8.0, "zero activations": 3.0}
"""Han et al. 2016, section I: what each idea saves."""


@dataclass(frozen=True)
class Proxy:
    """One layer in one form.

    Attributes
    ----------
    cold, resident
        Picojoules of one run.
    multiplications
        That the kernel executes, padding counted.
    weight_bytes
        Of the packed weight.
    """

    cold: float
    resident: float
    multiplications: float
    weight_bytes: float
    parts: Mapping[str, float]
    stays: bool


def proxies(case: Case, target: Target, options: argparse.Namespace) -> dict[str, Proxy]:
    """Count a layer in every form that can hold it."""
    seed = options.seed + [known.name for known in LAYERS].index(case.name)
    model = layer_model(case, options.batch, seed)
    found = {}
    for form in options.forms:
        work, forms = model_work(model, target, storage=form)
        if set(forms.values()) == {form}:
            cold, stays = (
                energy_of_work(target.name, work, forms, resident=resident)
                for resident in (False, True)
            )
            found[form] = _proxy(cold, stays, case, options.batch)
    return found


def _proxy(cold: ModuleEnergy, stays: ModuleEnergy, case: Case, batch: int) -> Proxy:
    layer = cold.layers[0]
    activations = 4.0 * sum(
        np.prod(shape) for shape in (case.input_shape(batch), case.output_shape(batch))
    )
    return Proxy(
        cold.total,
        stays.total,
        layer.operations["float_multiply"],
        layer.bytes["dram"] - activations,
        dict(layer.picojoules),
        stays.total < cold.total,
    )


def decomposition(
    rows: Mapping[str, Mapping[str, Proxy]], form: str, target: Target
) -> dict[str, float]:
    """Geometric means of what each idea saves in ``form``, as EIE splits its gain."""
    table = target.energy
    pairs = [(row["dense"], row[form]) for row in rows.values() if form in row]
    each_weight = [p.weight_bytes / p.multiplications for _, p in pairs]
    dense_weight = [d.weight_bytes / d.multiplications for d, _ in pairs]
    return {
        "DRAM to SRAM": geometric_mean(
            table.dram_word / table.large_sram_word if p.stays and not d.stays else 1.0
            for d, p in pairs
        ),
        "sparsity": geometric_mean(d.multiplications / p.multiplications for d, p in pairs),
        "weight sharing": geometric_mean(
            d / p for d, p in zip(dense_weight, each_weight, strict=True)
        ),
    }


def print_proxies(rows: Mapping[str, Mapping[str, Proxy]], forms: Sequence[str]) -> None:
    """Print microjoules, and dense over each form."""
    table = Table(title="energy proxy of one run, uJ, every packed byte from main memory (cold)")
    table.add_column("layer", no_wrap=True)
    for form in forms:
        table.add_column(form, justify="right")
    others = [form for form in forms if form != "dense"]
    for form in others:
        table.add_column(f"dense / {form}", justify="right")
    for form in others:
        table.add_column(f"the same, {form} resident", justify="right")
    for name, row in rows.items():
        cells = [f"{row[form].cold * 1e-6:,.1f}" if form in row else "-" for form in forms]
        for kind in ("cold", "resident"):
            cells += [f"{ratio_of(row, form, kind):.1f}" if form in row else "-" for form in others]
        table.add_row(name, *cells)
    means = [
        f"{mean:.1f}" if (mean := mean_ratio(rows, form, kind)) else "-"
        for kind in ("cold", "resident")
        for form in others
    ]
    table.add_row("geometric mean", *[""] * len(forms), *means)
    Console(width=180).print(table)


def ratio_of(row: Mapping[str, Proxy], form: str, kind: str) -> float:
    """Proxy of dense over that of a form, both cold or both resident where they fit."""
    return float(getattr(row["dense"], kind) / getattr(row[form], kind))


def mean_ratio(rows: Mapping[str, Mapping[str, Proxy]], form: str, kind: str) -> float | None:
    """Geometric mean of dense over a form."""
    ratios = [ratio_of(row, form, kind) for row in rows.values() if form in row]
    return geometric_mean(ratios) if ratios else None


def print_papers(
    rows: Mapping[str, Mapping[str, Proxy]], split: Mapping[str, Mapping[str, float]]
) -> None:
    """Print what the papers measured, and EIE's decomposition beside ours."""
    table = Table(title="dense over pruned: the paper's are measured watts times seconds (CSR)")
    for column in ("", "energy"):
        table.add_column(column, justify="left" if not column else "right")
    for name, value in PAPER.items():
        table.add_row(f"Deep Compression, Figure 10, {name}, measured", f"{value:.1f}")
    for form in split:
        for kind in ("cold", "resident"):
            table.add_row(
                f"this compiler, {form}, {kind}, proxy", f"{mean_ratio(rows, form, kind):.1f}"
            )
    Console(width=120).print(table)
    table = Table(title="what each idea saves, geometric means of the layers (proxy)")
    for column in ("", "EIE says", *split):
        table.add_column(column, justify="right" if column else "left")
    for name, value in EIE.items():
        # The kernels skip no zero activations: there is nothing to measure.
        ours = (f"{split[form][name]:.1f}x" if name in split[form] else "-" for form in split)
        table.add_row(name, f"{value:.0f}x", *ours)
    Console(width=120).print(table)


def measured(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Joules of one run by form, as the machine's counters say; empty where there are none."""
    found = find_counters()
    if not found.counters:
        return {"missing": found.missing}
    seed = options.seed + [known.name for known in LAYERS].index(case.name)
    model = layer_model(case, options.batch, seed)
    x = np.random.default_rng(seed).standard_normal(case.input_shape(options.batch))
    inputs = {"x": x.astype(np.float32)}
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for form in options.forms:
            module = dcc.load(dcc.compile(model, Path(folder) / f"{form}.so", storage=form))
            energies = measure_energy(lambda run=module: run(inputs), found.counters)
            result[form] = [each.to_json() for each in energies]
    return result


def speed_bars(path: Path) -> dict[str, dict[str, float]]:
    """Best dense time over each form, by layer, of what ``layers.py`` wrote."""
    record = json.loads(path.read_text())
    return {row["name"]: dict(row["ratios"]) for row in record["rows"]}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [case.name for case in LAYERS]
    parser.add_argument("--layers", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--target", default="host")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="also the machine's counters")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG of the proxies")
    parser.add_argument("--speed", type=Path, help="what layers.py --json wrote")
    parser.add_argument("--speed-plot", type=Path, help="PNG of the speeds")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if "dense" not in options.forms:
        options.forms.insert(0, "dense")
    target = get_target(options.target)
    facts = setting(0, options.seed, target=target.name, batch=options.batch)
    print(setting_line(facts).replace("0 threads; ", f"target {target.name}; "), flush=True)
    rows: dict[str, dict[str, Proxy]] = {}
    counters: dict[str, Any] = {}
    for case in (case for case in LAYERS if case.name in options.layers):
        rows[case.name] = proxies(case, target, options)
        print(f"{case.name} counted", flush=True)
        if options.measure:
            counters[case.name] = measured(case, options)
    print_proxies(rows, options.forms)
    split = {f: decomposition(rows, f, target) for f in CODED if f in options.forms}
    print_papers(rows, split)
    for name, value in counters.items():
        print(f"measured, {name}: {value}")
    ratios = {
        name: {form: row["dense"].cold / proxy.cold for form, proxy in row.items()}
        for name, row in rows.items()
    }
    if options.json is not None:
        layers = {
            name: {form: vars(proxy) for form, proxy in row.items()} for name, row in rows.items()
        }
        means = {
            form: {kind: mean_ratio(rows, form, kind) for kind in ("cold", "resident")}
            for form in options.forms
        }
        write_json(
            options.json,
            {
                **facts,
                "kind": "proxy",
                "table": target.energy.describe(),
                "layers": layers,
                "ratios": ratios,
                "means": means,
                "decomposition": {"EIE": EIE, **split},
                "paper": PAPER,
                "measured": counters,
            },
        )
    if options.plot is not None:
        title = f"energy proxy on {target.name}, batch {options.batch}: dense over each form"
        draw_bars(
            ratios, options.forms, title, "energy efficiency, dense = 1 (proxy)", options.plot
        )
    if options.speed is not None and options.speed_plot is not None:
        bars = speed_bars(options.speed)
        forms = [
            form for form in ("sparse", "huffman", "auto") if form in next(iter(bars.values()))
        ]
        bars = {name: {"dense": 1.0, **row} for name, row in bars.items()}
        title = "time of the best dense fp32 library over each form, measured"
        draw_bars(bars, ["dense", *forms], title, "speed, dense = 1", options.speed_plot)


if __name__ == "__main__":
    main()
