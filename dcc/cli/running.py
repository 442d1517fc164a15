"""``dcc run`` and ``dcc verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcc.cli.options import (
    common_options,
    driver_option,
    json_option,
    place_options,
    range_option,
    read_inputs,
    seed_option,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from dcc.verification import Verification


@click.command()
@click.argument("module", metavar="OUT.so")
@click.option("--input", "input_file", metavar="FILE.npz", help="Arrays by input name.")
@click.option("--output", "output_file", metavar="FILE.npz", help="Save the outputs by name.")
@place_options
@driver_option
@range_option
@seed_option
@json_option
@common_options
def run(
    module: str,
    input_file: str | None,
    output_file: str | None,
    emulate: bool,
    rpc: str | None,
    driver: str | None,
    ranges: dict[str, tuple[float, float]],
    seed: int,
    json_file: str | None,
) -> None:
    """Run a module once, on random inputs if none are given."""
    import time

    from dcc.cli.console import print_table, time_text, write_json
    from dcc.random_inputs import random_inputs
    from dcc.running import load_for

    loaded = load_for(module, emulate=emulate, rpc=rpc, driver=driver)
    inputs = read_inputs(input_file)
    if inputs is None:
        inputs = dict(random_inputs(loaded.inputs, seed, ranges))
    start = time.perf_counter()
    outputs = loaded(inputs)
    seconds = time.perf_counter() - start
    arrays = {spec.name: array for spec, array in zip(loaded.outputs, outputs, strict=True)}
    if output_file is not None:
        _save(output_file, arrays)
    rows = [_summary(name, array) for name, array in arrays.items()]
    columns = ("name", "dtype", "shape", "min", "mean", "max", "largest_at")
    write_json(json_file, {"outputs": [dict(zip(columns, row, strict=True)) for row in rows]})
    title = f"{module}: {time_text(seconds)} ms{_about_time(emulate, rpc)}"
    print_table(title, ("output", *columns[1:]), rows, left=3)


def _about_time(emulate: bool, rpc: str | None) -> str:
    """Say what else is in the time of a run that is not in this process."""
    if emulate:
        return ", with the emulator and its start (the first time its runner is built): no latency"
    return "" if rpc is None else ", the network included: no latency"


def _save(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    import numpy as np

    from dcc.files import atomic_write

    with atomic_write(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _summary(name: str, values: np.ndarray) -> tuple[str, ...]:
    import numpy as np

    shape = "x".join(map(str, values.shape)) or "scalar"
    if not values.size:
        return name, str(values.dtype), shape, "", "", "", ""
    numbers = values.astype(np.float64)
    statistics = (f"{value:.6g}" for value in (numbers.min(), numbers.mean(), numbers.max()))
    return name, str(values.dtype), shape, *statistics, str(int(numbers.argmax()))


@click.command()
@click.argument("module", metavar="OUT.so")
@click.argument("reference", metavar="MODEL.onnx|MODEL.dcz")
@click.option("--input", "input_file", metavar="FILE.npz", help="Arrays by input name.")
@click.option(
    "--data",
    metavar="FILE.npz|FOLDER",
    help="Labelled data: an .npz with x and y, or a folder of IDX files; compares accuracy too.",
)
@click.option(
    "--scale",
    type=float,
    help="Divide the samples by this number.  [default: 256 for IDX files, else 1]",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Largest error allowed, over the largest magnitude.  [default: 1e-5; 1e-2 for fp16]",
)
@click.option(
    "--max-drop",
    type=float,
    metavar="POINTS",
    help="Percentage points of accuracy that may be lost; decides instead of the tolerance.",
)
@place_options
@driver_option
@range_option
@seed_option
@json_option
@common_options
@click.pass_context
def verify(
    context: click.Context,
    module: str,
    reference: str,
    input_file: str | None,
    data: str | None,
    scale: float | None,
    tolerance: float | None,
    max_drop: float | None,
    emulate: bool,
    rpc: str | None,
    driver: str | None,
    ranges: dict[str, tuple[float, float]],
    seed: int,
    json_file: str | None,
) -> None:
    """Compare with ONNX Runtime; exit code 1 if off.

    Against a .dcz, or an ONNX model that the recipe did not change, the tolerance decides. Against
    one that it changed, --max-drop decides if given; otherwise the numbers are only shown.
    """
    import dcc
    from dcc.cli.console import shown_progress, write_json
    from dcc.running import load_for

    with shown_progress():
        result = dcc.verify(
            load_for(module, emulate=emulate, rpc=rpc, driver=driver),
            reference,
            inputs=read_inputs(input_file),
            data=data,
            scale=scale,
            tolerance=tolerance,
            max_drop=max_drop,
            ranges=ranges,
            seed=seed,
        )
    write_json(json_file, result.to_json())
    print_verification(module, reference, result)
    if not result.holds:
        context.exit(1)


def print_verification(module: str, reference: str, result: Verification) -> None:
    """Print the errors of each output, the accuracies and the judgement."""
    from dcc.cli.console import print_table

    rows = [
        (
            output.name,
            f"{output.largest_error:.2e}",
            f"{output.relative_error:.2e}",
            "exact" if output.sqnr_db is None else f"{output.sqnr_db:.1f} dB",
        )
        for output in result.outputs
    ]
    title = f"{module} against {reference} in ONNX Runtime, {result.runs} runs"
    print_table(title, ("output", "largest error", "over largest magnitude", "SQNR"), rows)
    if result.accuracy is not None:
        print(f"accuracy: {result.accuracy:.2f} %, reference {result.reference_accuracy:.2f} %")
    verdict = {True: "holds", False: "DOES NOT HOLD"}[result.holds]
    if result.criterion == "report" and result.holds:
        verdict = "reported only"
    print(f"{verdict}: {result.reason}")
