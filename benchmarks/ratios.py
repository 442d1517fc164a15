"""Ratios of the contenders' times, their geometric means, and the record written as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from alternation import Latency
from rich.console import Console
from rich.table import Table

from dcc.machine import machine_facts

DENSE = ("ONNX Runtime", "OpenVINO")
"""Contenders that compute the same function in fp32 from the dense weight."""
INT8 = "ORT int8"
"""ONNX Runtime's dynamic quantisation: another accuracy, so a column of its own."""
PACKAGES = ("apache-tvm", "onnxruntime", "openvino", "numpy")


@dataclass(frozen=True)
class Row:
    """What one layer took.

    Attributes
    ----------
    group
        Rows of a group share a geometric mean.
    forms
        The storage form in which each module of ours keeps the weight, by contender.
    """

    group: str
    name: str
    density: float
    forms: Mapping[str, str]
    latencies: Mapping[str, Latency]

    def ratio(self, ours: str) -> float:
        """Time of the faster dense contender over ours."""
        return self._seconds(*DENSE) / self._seconds(ours)

    def int8_ratio(self, ours: str) -> float | None:
        """Time of the quantised model over ours, where it was measured."""
        return self._seconds(INT8) / self._seconds(ours) if INT8 in self.latencies else None

    def _seconds(self, *names: str) -> float:
        return min(self.latencies[name].best for name in names if name in self.latencies)


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean of positive values.

    >>> round(geometric_mean([2, 8]), 6)
    4.0
    """
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def group_means(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Geometric means of the ratios by group, then by contender of ours (and ``int8``)."""
    means: dict[str, dict[str, float]] = {}
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        means[group] = {
            name: geometric_mean(row.ratio(name) for row in members) for name in members[0].forms
        }
        int8 = [ratio for row in members if (ratio := row.int8_ratio(next(iter(row.forms))))]
        if int8:
            means[group]["int8"] = geometric_mean(int8)
    return means


def print_rows(rows: Sequence[Row]) -> None:
    """Milliseconds and ratios of one group of rows, and its geometric means."""
    first = rows[0]
    ours, means = list(first.forms), group_means(rows)[first.group]
    table = Table(
        title=f"{first.group}: milliseconds (median of the best block), dense fp32 time over ours"
    )
    table.add_column("layer", no_wrap=True)
    for name in (*first.latencies, *(f"dense / {name}" for name in ours)):
        table.add_column(name, justify="right")
    if "int8" in means:
        table.add_column(f"int8 / {ours[0]}", justify="right")
    for row in rows:
        ratios = [row.ratio(name) for name in ours]
        int8 = row.int8_ratio(ours[0])
        cells = [f"{1e3 * latency.best:.3f}" for latency in row.latencies.values()]
        cells += [
            f"{ratio:.2f} {row.forms[name]}" if name == "auto" else f"{ratio:.2f}"
            for name, ratio in zip(ours, ratios, strict=True)
        ]
        table.add_row(f"{row.name} {row.density:.0%}", *cells, f"{int8:.2f}" if int8 else None)
    blanks = [""] * len(first.latencies)
    table.add_row("geometric mean", *blanks, *(f"{mean:.2f}" for mean in means.values()))
    Console(width=180).print(table)


def setting(threads: int, seed: int, **more: Any) -> dict[str, Any]:
    """Where and how the numbers were measured."""
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):  # a script need not use all of them
            versions[package] = version(package)
    machine = {key: value for key, value in machine_facts().items() if key != "versions"}
    return {"machine": machine, "threads": threads, "seed": seed, "versions": versions, **more}


def setting_line(facts: Mapping[str, Any]) -> str:
    """Return the same in a line of text."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    machine = facts["machine"]
    return (
        f"{machine['processor']}, {machine['processors']} processors; {facts['threads']} threads; "
        f"seed {facts['seed']}; {versions}"
    )


def record(facts: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Everything as ``--json`` writes it."""
    return {
        **facts,
        "rows": [
            {**asdict(row), "ratios": {name: row.ratio(name) for name in row.forms}} for row in rows
        ],
        "means": group_means(rows),
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a record."""
    path.write_text(json.dumps(value, indent=1) + "\n")
