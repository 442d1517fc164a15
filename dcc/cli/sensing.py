"""``dcc sensitivity``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dcc.cli.options import common_options, json_option, writable

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from dcc.training.data import Splits
    from dcc.training.recipe_search import FoundRecipe
    from dcc.training.sensitivity import LayerSensitivity, Sensitivity, SensitivityPoint


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@click.option(
    "--data",
    required=True,
    metavar="FILE.npz|FOLDER",
    help="Labelled data: an .npz with x and y, or a folder of IDX files.",
)
@click.option(
    "--scale",
    type=float,
    help="Divide the samples by this number.  [default: 256 for IDX files, else 1]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Validation samples to measure on, at most.",
)
@click.option("--plot", metavar="FILE.png", callback=writable, help="Draw the curves (matplotlib).")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    help="Find the smallest recipe within this loss of accuracy.",
)
@click.option(
    "--target-ratio",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    help="Find the mildest recipe that makes the file so many times smaller.",
)
@click.option(
    "--recipe-output",
    metavar="FILE.yaml",
    callback=writable,
    help="Write the recipe that was found.",
)
@click.option(
    "-o",
    "--output",
    metavar="OUT.dcz",
    callback=writable,
    help="Apply it and write the container.",
)
@json_option
@common_options
def sensitivity(
    model: str,
    data: str,
    scale: float | None,
    samples: int,
    plot: str | None,
    max_drop: float | None,
    target_ratio: float | None,
    recipe_output: str | None,
    output: str | None,
    json_file: str | None,
) -> None:
    """Measure what each layer's density and bits cost.

    On validation data held out of the training part of DATA, without retraining. --max-drop and
    --target-ratio find a recipe by it; -o applies it and tests the module on the test part.
    """
    from pathlib import Path

    from dcc.cli.console import shown_progress, write_json
    from dcc.errors import RecipeError
    from dcc.onnx_weights import load_model
    from dcc.training.torch_extra import require_torch

    require_torch("dcc sensitivity")
    from dcc.training.data import read_splits
    from dcc.training.recipe_search import find_recipe
    from dcc.training.sensitivity import Evaluator, sensitivity_of
    from dcc.training.sensitivity_plot import write_plot

    searching = max_drop is not None or target_ratio is not None
    if (recipe_output or output) and not searching:
        raise RecipeError("no recipe to write: give --max-drop, --target-ratio or both")
    splits = read_splits(data, scale=scale)
    proto = load_model(Path(model))
    with shown_progress():
        evaluator = Evaluator(proto, splits.validation, samples)
        measured = sensitivity_of(proto, evaluator)
    content: dict[str, Any] = {"model": model, "data": splits.describe(), **measured.to_json()}
    print_sensitivity(model, measured)
    print(f"data: {splits.describe()}")
    if plot is not None:
        write_plot(measured, plot)
    if searching:
        with shown_progress():
            found = find_recipe(
                proto, evaluator, measured, max_drop=max_drop, target_ratio=target_ratio
            )
        content["recipe"] = _apply(proto, found, splits, model, recipe_output, output)
    write_json(json_file, content)


def print_sensitivity(model: str, sensitivity: Sensitivity) -> None:
    """Print two tables of points of accuracy lost: by density, and by bits."""
    title = (
        f"{model}: {sensitivity.accuracy:.2f} % on {sensitivity.samples:,} validation samples; "
        "points lost when one layer alone"
    )
    layers = sensitivity.layers
    pruned = [(layer, layer.by_density()) for layer in layers if len(layer.by_density()) > 1]
    _print_points(f"{title} is pruned to a density of", pruned, lambda p: f"{100 * p.density:g} %")
    shared = [(layer, layer.by_bits()) for layer in layers]
    _print_points(f"{title} has at most so many bits", shared, lambda p: str(p.bits))


def _print_points(
    title: str,
    rows: list[tuple[LayerSensitivity, list[SensitivityPoint]]],
    label: Callable[[SensitivityPoint], str],
) -> None:
    from dcc.cli.console import print_table

    if not rows:
        return
    lines = [
        (
            layer.name,
            "x".join(map(str, layer.shape)),
            *(f"{point.drop:.2f}" for point in points),
            "",
        )
        for layer, points in rows
    ]
    print_table(title, ("layer", "shape", *map(label, rows[0][1]), ""), lines, left=2)


def _apply(
    model: onnx.ModelProto,
    found: FoundRecipe,
    splits: Splits,
    source: str,
    recipe_output: str | None,
    output: str | None,
) -> dict[str, Any]:
    """Write the recipe, or print it, and the container; measure the module on the test split."""
    from pathlib import Path

    from dcc.compression import compress_model
    from dcc.files import atomic_write, refuse_same_file
    from dcc.recipe_writing import recipe_yaml
    from dcc.training.outcome import compiled_accuracy

    summary = (
        f"{found.ratio:.1f}x; accuracy on validation data {found.accuracy:.2f} %, "
        f"{found.drop:.2f} points lost"
    )
    text = recipe_yaml(found.recipe, f"found for {Path(source).name}: {summary}")
    print(f"recipe: {summary}")
    if recipe_output is None:
        print(text, end="")
    else:
        with atomic_write(recipe_output) as file:
            file.write(text.encode())
    content = {"ratio": found.ratio, "accuracy": found.accuracy, "drop": found.drop, "yaml": text}
    if output is not None:
        refuse_same_file(output, source)
        container = compress_model(model, found.recipe)
        container.write(Path(output))
        before = compiled_accuracy(model, splits.test)
        after = compiled_accuracy(container, splits.test)
        size = Path(output).stat().st_size
        print(
            f"{output}: {size:,} bytes; compiled module on {len(splits.test.labels):,} test "
            f"samples: {after:.2f} %, the dense model {before:.2f} %"
        )
        content |= {"bytes": size, "test_accuracy": after, "dense_test_accuracy": before}
    return content
