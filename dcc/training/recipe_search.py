"""Finds a recipe: a density and a number of bits for each layer, for a drop or for a ratio.

From the weights as they are, one step after the other is taken in the layer where it saves the
most bytes for what it adds to the loss, by each layer's own curve. So the steps are a path of
recipes, each smaller than the one before; where on it to stop is decided by what the whole model
then measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx

from dcc.compression import compress_model
from dcc.errors import RecipeError
from dcc.onnx_weights import array_of, weight_tensors
from dcc.passes.options import Recipe
from dcc.progress import report
from dcc.recipe_writing import pattern_of
from dcc.training.data import Splits
from dcc.training.evaluate import Evaluation
from dcc.training.layer_choices import LayerChoice, compressed
from dcc.training.outcome import check_limits
from dcc.training.sensitivity import Evaluator, LayerSensitivity, Sensitivity, sensitivity_of

LOSS_FLOOR = 1e-5
"""Added to what a step costs: below it, differences of the loss are noise."""
RETRAINABLE = 0.5
"""Share of the accuracy that retraining is trusted to win back from pruning and sharing."""
MARGIN = 1.1
"""Retraining moves weights to codes that were rare: files come out some percent larger."""
NAME = "found"

Choices = dict[str, LayerChoice]


@dataclass(frozen=True)
class FoundRecipe:
    """A recipe and what it does to the model without any training.

    Attributes
    ----------
    accuracy, drop
        On the validation data, in percent and in points below the dense model.
    ratio
        Bytes of the ONNX file over those of the container.
    """

    recipe: Recipe
    accuracy: float
    drop: float
    ratio: float


def search_recipe(
    model: onnx.ModelProto,
    splits: Splits,
    *,
    max_drop: float | None = None,
    target_ratio: float | None = None,
    retraining: bool = True,
) -> Recipe:
    """Find a recipe for a model that will be, or will not be, trained after compression.

    Parameters
    ----------
    splits
        Only the validation split is used.
    max_drop
        Percentage points of accuracy that may be lost. With ``retraining``, half of the accuracy
        may be lost on top of that before it: learning wins back far more than that.
    target_ratio
        Bytes of the ONNX file over those of the container, to be reached.

    Raises
    ------
    RecipeError
        Neither is given, or the ratio cannot be reached.
    """
    evaluator = Evaluator(model, splits.validation)
    sensitivity = sensitivity_of(model, evaluator)
    if retraining and max_drop is not None:
        max_drop += RETRAINABLE * sensitivity.accuracy
    found = find_recipe(
        model,
        evaluator,
        sensitivity,
        max_drop=max_drop,
        target_ratio=target_ratio,
        margin=MARGIN if retraining else 1.0,
    )
    return found.recipe


def find_recipe(
    model: onnx.ModelProto,
    evaluator: Evaluator,
    sensitivity: Sensitivity,
    *,
    max_drop: float | None = None,
    target_ratio: float | None = None,
    margin: float = 1.0,
) -> FoundRecipe:
    """Find the smallest recipe within ``max_drop``, or the mildest that reaches ``target_ratio``.

    Parameters
    ----------
    evaluator, sensitivity
        Of ``model``; both on validation data.
    margin
        So many times ``target_ratio`` is looked for, where the smallest recipe allows it.

    Raises
    ------
    RecipeError
        Neither limit is given, the ratio cannot be reached, or not within the drop.
    """
    if max_drop is None and target_ratio is None:
        raise RecipeError("nothing to search for: give --max-drop, --target-ratio or both")
    check_limits(max_drop, target_ratio)
    path = _Path(model, evaluator, sensitivity)
    if target_ratio is not None:
        found = path.found(path.reaching(target_ratio, margin))
        if max_drop is not None and found.drop > max_drop + 1e-9:
            raise RecipeError(
                f"{target_ratio:g}x costs {found.drop:.2f} points of accuracy without retraining, "
                f"allowed are {max_drop:g}: ask for less, or retrain ('dcc finetune')"
            )
        return found
    assert max_drop is not None
    return path.found(path.within(max_drop))


@dataclass
class _Path:
    """The recipes from mild to small, and measurements of them."""

    model: onnx.ModelProto
    evaluator: Evaluator
    sensitivity: Sensitivity
    steps: list[tuple[Choices, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        tensors = weight_tensors(self.model)
        self._arrays = {
            layer.name: array_of(tensors[layer.name], layer.name)
            for layer in self.sensitivity.layers
        }
        self._measured: dict[int, Evaluation] = {}
        self.steps = _steps(self.sensitivity.layers, self._arrays)
        self._dense_bytes = self.model.ByteSize()

    def reaching(self, ratio: float, margin: float = 1.0) -> int:
        """First step whose container is small enough; bytes fall along the path, but for noise."""
        others = self._container_bytes(0) - self.steps[0][1]
        wanted = self._dense_bytes / (ratio * margin)
        for index, (_, size) in enumerate(self.steps):
            if others + size <= wanted * 1.01 and self._container_bytes(index) <= wanted:
                return index
        last = len(self.steps) - 1
        best = self._dense_bytes / self._container_bytes(last)
        if best >= ratio:
            return last
        raise RecipeError(
            f"the target ratio {ratio:g} is out of reach: density "
            f"{min(point.density for layer in self.sensitivity.layers for point in layer.points)} "
            f"and 1 bit in every layer give {best:.1f}"
        )

    def within(self, drop: float) -> int:
        """Last step, by bisection, whose measured accuracy is within ``drop`` points."""
        low, high = 0, len(self.steps)
        while high - low > 1:
            report("searching the recipe", len(self._measured), len(self.steps).bit_length())
            middle = (low + high) // 2
            fits = self.sensitivity.accuracy - self._measure(middle).accuracy <= drop + 1e-9
            low, high = (middle, high) if fits else (low, middle)
        return low

    def found(self, index: int) -> FoundRecipe:
        accuracy = self._measure(index).accuracy
        return FoundRecipe(
            recipe_of(self.steps[index][0]),
            accuracy,
            self.sensitivity.accuracy - accuracy,
            self._dense_bytes / self._container_bytes(index),
        )

    def _measure(self, index: int) -> Evaluation:
        if index not in self._measured:
            self._measured[index] = self.evaluator(
                {
                    name: compressed(self._arrays[name], choice).decode()
                    for name, choice in self.steps[index][0].items()
                }
            )
        return self._measured[index]

    def _container_bytes(self, index: int) -> int:
        return len(compress_model(self.model, recipe_of(self.steps[index][0])).to_bytes())


def recipe_of(choices: Mapping[str, LayerChoice]) -> Recipe:
    """Write choices by weight as a recipe; what is not among them keeps its values."""
    layers = tuple((pattern_of(name), choice.settings()) for name, choice in choices.items())
    return Recipe(name=NAME, layers=layers)


def _steps(
    layers: Sequence[LayerSensitivity], arrays: Mapping[str, npt.NDArray[np.floating]]
) -> list[tuple[Choices, int]]:
    """Choices and bytes of the weights along the path, each step the best of those at hand."""
    curves = {layer.name: _Curve(layer, arrays[layer.name]) for layer in layers}
    current = {name: curve.start for name, curve in curves.items()}
    sizes = {name: curve.bytes(curve.start) for name, curve in curves.items()}
    steps = [(dict(current), sum(sizes.values()))]
    while True:
        best: tuple[float, str, LayerChoice, int] | None = None
        for name, curve in curves.items():
            for choice in curve.further(current[name]):
                saved = sizes[name] - curve.bytes(choice)
                cost = max(curve.cost(choice) - curve.cost(current[name]), 0.0) + LOSS_FLOOR
                if best is None or saved / cost > best[0]:
                    best = (saved / cost, name, choice, curve.bytes(choice))
        if best is None:
            break
        _, name, current[name], sizes[name] = best
        steps.append((dict(current), sum(sizes.values())))
    return steps


class _Curve:
    """What one layer costs in loss, as the sum of its two curves, and in bytes."""

    def __init__(self, layer: LayerSensitivity, array: npt.NDArray[np.floating]) -> None:
        self._array = array
        densities, bits = layer.by_density(), layer.by_bits()
        losses = [point.loss for point in densities]
        # A curve only rises: what lies below is noise of the data.
        rising = np.maximum.accumulate(losses) - losses[0]
        self._by_density = {p.density: float(c) for p, c in zip(densities, rising, strict=True)}
        rising = np.maximum.accumulate([losses[0], *(point.loss for point in bits)]) - losses[0]
        widths = [None, *(point.bits for point in bits)]
        self._by_bits = {width: float(c) for width, c in zip(widths, rising, strict=True)}
        self._bytes: dict[LayerChoice, int] = {}
        self.start = LayerChoice()

    def cost(self, choice: LayerChoice) -> float:
        return self._by_density[choice.density] + self._by_bits[choice.bits]

    def bytes(self, choice: LayerChoice) -> int:
        if choice not in self._bytes:
            self._bytes[choice] = compressed(self._array, choice).nbytes().total
        return self._bytes[choice]

    def further(self, choice: LayerChoice) -> list[LayerChoice]:
        """Return what is next: the first lower density and the first fewer bits that save bytes.

        In a layer that is pruned already, the densities above its own save nothing. If one of them
        stood for all that follow, bits would be taken away first, down to one.
        """
        densities, bits = list(self._by_density), list(self._by_bits)
        lower = densities[densities.index(choice.density) + 1 :]
        fewer = bits[bits.index(choice.bits) + 1 :]
        ways = (
            [LayerChoice(density, choice.bits) for density in lower],
            [LayerChoice(choice.density, width) for width in fewer],
        )
        size = self.bytes(choice)
        smaller = (next((c for c in way if self.bytes(c) < size), None) for way in ways)
        return [found for found in smaller if found is not None]
