"""``dcc compress`` and ``dcc decompress``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcc.cli.options import common_options, json_option, output_option, parse_shapes

if TYPE_CHECKING:
    from dcc.training.calibration import Calibration


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@output_option("OUT.dcz", "The container to write.")
@click.option(
    "--recipe",
    default="lossless",
    show_default=True,
    metavar="NAME_OR_YAML",
    help="How to compress; see 'dcc recipes'.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,3,224,224",
    help="Fix the shape of the input NAME for the passes (repeatable).",
)
@click.option(
    "--calibrate",
    metavar="FILE.npz",
    help="Inputs by name (or x), without labels: k-means and biases follow what the weights see.",
)
@click.option("--dump", metavar="DIR", help="Write the IR after each pass into DIR.")
@json_option
@common_options
def compress(
    model: str,
    output: str,
    recipe: str,
    shapes: tuple[str, ...],
    calibrate: str | None,
    dump: str | None,
    json_file: str | None,
) -> None:
    """Compress a model into a container."""
    import dcc
    from dcc.cli.console import shown_progress, write_json
    from dcc.cli.tables import print_report

    fixed = parse_shapes(shapes)
    calibration = None
    with shown_progress():
        if calibrate is None or dump is not None:
            dcc.compress(model, output, recipe=recipe, shapes=fixed, calibrate=calibrate, dump=dump)
        else:
            calibration = _calibrated(model, output, recipe, fixed, calibrate)
    report = dcc.inspect(output)
    content = report.to_json()
    if calibration is not None:
        content["calibration"] = calibration.to_json()
    write_json(json_file, content)
    print_report(report)
    if calibration is not None:
        print_calibration(calibration)


def _calibrated(
    model: str, output: str, recipe: str, shapes: dict[str, tuple[int, ...]] | None, inputs: str
) -> Calibration:
    from pathlib import Path

    from dcc.files import refuse_same_file
    from dcc.training.calibration import calibrate

    refuse_same_file(output, model)
    calibration = calibrate(model, inputs, recipe, shapes=shapes)
    calibration.container.write(Path(output))
    return calibration


def print_calibration(calibration: Calibration) -> None:
    """Print what weighted k-means and bias correction gained, each alone and both together."""
    from dcc.cli.console import print_table

    def decibel(ratio: float | None) -> str:
        return "exact" if ratio is None else f"{ratio:.2f} dB"

    rows = [
        (
            variant.label,
            decibel(variant.calibration_db),
            decibel(variant.held_out_db),
            "kept" if variant is calibration.kept else "",
        )
        for variant in calibration.variants
    ]
    title = (
        f"calibration on {calibration.batches} batches, {calibration.held_out} held out: "
        "signal-to-noise ratio of the outputs"
    )
    print_table(title, ("", "calibration inputs", "held out", ""), rows)


@click.command()
@click.argument("container", metavar="IN.dcz")
@click.option("-o", "--output", required=True, metavar="OUT.onnx", help="The ONNX file to write.")
@common_options
def decompress(container: str, output: str) -> None:
    """Turn a container back into a plain ONNX file."""
    from pathlib import Path

    import dcc

    dcc.decompress(container, output)
    print(f"{output}: {Path(output).stat().st_size:,} bytes")
