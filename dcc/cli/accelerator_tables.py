"""The tables of ``dcc bench`` for modules with an accelerator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcc.accelerator.report import OperationReport


def bench_accelerator(
    module: str,
    roofline: str | None,
    ranges: Mapping[str, tuple[float, float]],
    seed: int,
    json_file: str | None,
) -> bool:
    """Account for a module's operations; False where it has no accelerator."""
    from dcc.accelerator.loading import ACCELERATOR
    from dcc.codegen.module_file import read_metadata
    from dcc.errors import InputError

    if ACCELERATOR not in read_metadata(module):
        if roofline is not None:
            raise InputError(f"--roofline: '{module}' has no part for an accelerator")
        return False
    from dcc.accelerator.report import measure_operations
    from dcc.cli.console import write_json
    from dcc.random_inputs import random_inputs
    from dcc.runtime import load

    inputs = random_inputs(load(module).inputs, seed, ranges)
    reports = measure_operations(module, dict(inputs))
    write_json(json_file, {"operations": [report.to_json() for report in reports]})
    print_cycles(module, reports)
    print_bytes(reports)
    if roofline is not None:
        from dcc.accelerator.roofline_plot import write_roofline

        write_roofline(reports, roofline, module)
    return True


def print_cycles(module: str, reports: Sequence[OperationReport]) -> None:
    """Print where the time of each operation goes."""
    from dcc.cli.console import print_table
    from dcc.targets.vta.device import VTA
    from dcc.targets.vta.isa import Queue

    rows = [
        (
            report.operation.name,
            f"{report.run.cycles:,.0f}",
            *(f"{report.run.busy(queue):,.0f}" for queue in Queue),
            f"{report.run.expand_cycles:,.0f}",
            f"{report.run.idle_cycles:,.0f}",
            f"{report.run.micro_ops:,}",
            f"{100 * report.run.utilisation:.1f} %",
            report.operation.form,
        )
        for report in reports
    ]
    total = sum(report.run.cycles for report in reports)
    micro_ops = sum(report.run.micro_ops for report in reports)
    rows.append(
        ("all", f"{total:,.0f}", "", "", "", "", "", f"{micro_ops:,}", _share(micro_ops, total), "")
    )
    columns = ("operation", "cycles", "load", "compute", "store", "expand", "idle", "micro-ops")
    milliseconds = total / VTA.timing.megahertz * 1e-3
    host = VTA.host
    title = (
        f"{module}: simulated cycles of the accelerator, {milliseconds:.2f} ms at "
        f"{VTA.timing.megahertz:g} MHz; expansion on the host in the same cycles, assumed at "
        f"{host.codebook_weight:g} a weight (codebook), {host.huffman_weight:g} (huffman)"
    )
    print_table(title, (*columns, "utilisation", "form"), rows)


def print_bytes(reports: Sequence[OperationReport]) -> None:
    """Print what each operation's weights move, with and without a coherent port."""
    from dcc.cli.console import print_table
    from dcc.targets.vta.isa import Memory

    rows = [
        (
            report.operation.name,
            f"{report.dense_bytes:,}",
            f"{report.run.coded_bytes:,}",
            f"{report.run.loaded(Memory.WGT):,}",
            f"{report.run.bytes_expanded:,}",
            f"{report.run.dram_weight_bytes:,}",
            _share(report.run.dram_weight_bytes, report.dense_bytes),
            f"{report.run.dram_weight_bytes_incoherent:,}",
            report.operation.form,
        )
        for report in reports
        if report.dense_bytes
    ]
    columns = (
        "weights",
        "dense int8",
        "coded, read by host",
        "loaded",
        "written by host",
        "from DRAM, coherent port",
        "of dense",
        "from and to DRAM, no coherent port",
        "form",
    )
    print_table("bytes of weights in one run", columns, rows)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""
