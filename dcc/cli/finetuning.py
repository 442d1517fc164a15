"""``dcc finetune``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcc.cli.options import common_options, json_option, output_option, writable

if TYPE_CHECKING:
    from dcc.training.epoch_report import EpochReport
    from dcc.training.outcome import Finetuning


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="Folder of IDX files (train- and t10k-), or an .npz file with x and y.",
)
@output_option("OUT.dcz", "The container to write.")
@click.option(
    "--recipe",
    metavar="NAME_OR_YAML",
    help="What to keep of each layer, and how to train.  [default: 'finetune', or one that is "
    "searched for --max-drop and --target-ratio]",
)
@click.option("--epochs", type=click.IntRange(min=1), help="In all, instead of the recipe's.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    help="Accuracy that may be lost.",
)
@click.option(
    "--target-ratio",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Times smaller than the ONNX file.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same bytes.")
@click.option("--test", metavar="DATA", help="Data to test on.  [default: part of --data]")
@click.option("--scale", type=float, metavar="X", help="Divide samples by X; IDX: 256 if not said.")
@click.option(
    "--checkpoint",
    metavar="FILE",
    callback=writable,
    help="Written after each epoch.  [default: OUT.dcz.checkpoint, removed at the end]",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint.")
@click.option(
    "--recipe-output",
    metavar="FILE.yaml",
    callback=writable,
    help="Write the recipe, such as one that was found.",
)
@json_option
@common_options
def finetune(
    model: str,
    data: str,
    output: str,
    recipe: str | None,
    epochs: int | None,
    max_drop: float | None,
    target_ratio: float | None,
    seed: int,
    test: str | None,
    scale: float | None,
    checkpoint: str | None,
    resume: bool,
    recipe_output: str | None,
    json_file: str | None,
) -> int:
    """Prune, retrain and train codebooks on labelled data.

    The validation split that chooses between epochs is held out of the training data; the test
    split is only for the figure at the end, which is measured on the compiled module. The exit code
    is 1 if --max-drop or --target-ratio does not hold.
    """
    import dcc
    from dcc.cli.console import shown_progress, write_json
    from dcc.cli.tables import print_report

    kept = Path(checkpoint) if checkpoint else Path(f"{output}.checkpoint")
    if kept.is_file() and not resume:
        print(
            f"{kept} is of a training that did not end; this one starts anew and writes over it, "
            "--resume would go on from it",
            file=sys.stderr,
        )
    try:
        with shown_progress():
            result = dcc.finetune(
                model,
                data,
                output,
                recipe=recipe,
                test=test,
                scale=scale,
                epochs=epochs,
                max_drop=max_drop,
                target_ratio=target_ratio,
                seed=seed,
                checkpoint=kept,
                resume=resume,
                on_epoch=print_epoch,
            )
    except KeyboardInterrupt:
        if kept.is_file():
            print(f"{kept} holds the last epoch; --resume goes on from it", file=sys.stderr)
        raise
    if checkpoint is None:
        kept.unlink(missing_ok=True)
    if recipe_output is not None:
        write_recipe(recipe_output, result, model)
    write_json(json_file, result.to_json())
    print_report(dcc.inspect(output))
    print_result(result)
    return 0 if result.holds else 1


def write_recipe(path: str, result: Finetuning, model: str) -> None:
    """Write the recipe that was applied, with what it came to as its description."""
    from dcc.files import atomic_write
    from dcc.recipe_writing import recipe_yaml

    summary = f"{result.ratio:.1f}x, {result.dense_accuracy:.2f} -> {result.accuracy:.2f} %"
    with atomic_write(path) as file:
        file.write(recipe_yaml(result.recipe, f"for {Path(model).name}: {summary}").encode())


def print_epoch(report: EpochReport) -> None:
    """Print one line for an epoch."""
    print(
        f"{report.stage:8}{report.epoch:4} of {report.epochs}: loss {report.loss:.4f}, validation "
        f"{report.accuracy:.2f} %, density {100 * report.density:.2f} %, "
        f"about {report.projected_bytes:,} bytes",
        flush=True,
    )


def print_result(result: Finetuning) -> None:
    """Print sizes and accuracies, and whether the limits hold."""
    print(f"data: {result.splits}")
    print(
        f"bytes: {result.dense_bytes:,} -> {result.bytes:,}, {result.ratio:.1f} times smaller\n"
        f"accuracy: {result.dense_accuracy:.2f} -> {result.accuracy:.2f} % on the test split, by "
        f"the compiled module ({result.dense_validation:.2f} -> {result.validation:.2f} % on the "
        "validation split)"
    )
    if result.max_drop is not None:
        verdict = "allowed" if result.drop <= result.max_drop else "MORE than allowed"
        print(f"loss of accuracy: {result.drop:.2f} points, {verdict} ({result.max_drop:g})")
    if result.target_ratio is not None:
        verdict = "reached" if result.ratio >= result.target_ratio else "NOT reached"
        print(f"ratio: {result.ratio:.1f}, asked for {result.target_ratio:g}: {verdict}")
