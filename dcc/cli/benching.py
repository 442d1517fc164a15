"""``dcc bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcc.cli.options import common_options, json_option, range_option, seed_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dcc.benchmarking import Benchmark
    from dcc.measuring import KernelResult


@click.command()
@click.argument("module", metavar="OUT.so")
@click.argument("model", required=False, metavar="[MODEL.onnx|MODEL.dcz]")
@click.option(
    "--against",
    default="onnxruntime,tvm",
    show_default=True,
    metavar="LIST",
    help="Opponents: onnxruntime, tvm (dense, TVM's own importer and pipeline); '' for none.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="For all of them.  [default: the processors there are]",
)
@click.option("--layers", is_flag=True, help="Also the time of each kernel.")
@click.option(
    "--roofline", metavar="FILE.svg|FILE.png", help="Of modules with an accelerator: plot by layer."
)
@click.option(
    "--energy",
    is_flag=True,
    help="Instead: energy proxy by layer, counted; with MODEL, beside every storage form; what the "
    "machine's own counters measure, where it has any.",
)
@range_option
@seed_option
@json_option
@common_options
def bench(
    module: str,
    model: str | None,
    against: str,
    threads: int | None,
    layers: bool,
    roofline: str | None,
    energy: bool,
    ranges: dict[str, tuple[float, float]],
    seed: int,
    json_file: str | None,
) -> None:
    """Measure a module beside its opponents.

    Median latency in alternating blocks, bytes and peak memory. MODEL defaults to the file that the
    module was compiled from. Of a module with an accelerator: simulated cycles and bytes by layer.
    """
    import dcc
    from dcc.cli.accelerator_tables import bench_accelerator
    from dcc.cli.console import shown_progress, write_json

    if energy:
        from dcc.cli.energy_tables import bench_energy

        write_json(json_file, bench_energy(module, model, ranges, seed))
        return
    if bench_accelerator(module, roofline, ranges, seed, json_file):
        return
    with shown_progress():
        result = dcc.benchmark(
            module,
            model,
            against=[name.strip() for name in against.split(",") if name.strip()],
            threads=threads,
            layers=layers,
            ranges=ranges,
            seed=seed,
        )
    write_json(json_file, result.to_json())
    print_benchmark(module, result)


def print_benchmark(module: str, result: Benchmark) -> None:
    """Print the contenders side by side, then the kernels if they were measured."""
    from dcc.cli.console import print_table, size_text, time_text

    ours = result.contenders[0].median_seconds or 0.0
    rows = [
        (
            row.label,
            time_text(row.median_seconds),
            f"{time_text(row.p10_seconds)} to {time_text(row.p90_seconds)}" if row.calls else "",
            f"{row.median_seconds / ours:.2f}x" if row.median_seconds and ours else "",
            "" if row.error is None else f"{row.error:.1e}",
            size_text(row.file_bytes),
            size_text(row.peak_bytes),
            row.failure or "",
        )
        for row in result.contenders
    ]
    machine = result.machine
    title = f"{module} on {machine['processor']}, {result.threads} threads, seed {result.seed}"
    columns = ("", "ms", "10 to 90 %", "to dcc", "error", "file bytes", "peak memory", "")
    print_table(title, columns, rows)
    if result.kernels:
        _print_kernels(result.kernels)


def _print_kernels(kernels: Sequence[KernelResult]) -> None:
    """Print the time of each kernel; the virtual machine's own calls are one line."""
    from dcc.cli.console import print_table

    machine = [kernel for kernel in kernels if kernel.name.startswith("vm.")]
    rows = [
        (kernel.name, kernel.calls, kernel.seconds) for kernel in kernels if kernel not in machine
    ]
    rows.append(
        (
            "virtual machine (memory, shapes)",
            sum(kernel.calls for kernel in machine),
            sum(kernel.seconds for kernel in machine),
        )
    )
    total = sum(seconds for *_, seconds in rows) or 1.0
    lines = [
        (name, str(calls), f"{seconds * 1e6:.1f}", f"{100 * seconds / total:.1f} %", "")
        for name, calls, seconds in sorted(rows, key=lambda row: -row[2])
    ]
    title = "time by kernel, measured call by call (which adds up to a microsecond to each)"
    print_table(title, ("kernel", "calls", "us", "share", ""), lines)
