"""Calibration: a better compression from inputs alone, without labels and without training.

Two things are tried, each by itself and both together: the clusters of k-means weigh each weight by
the mean square of its input, and the biases take back the mean shift of their layers' outputs. What
brings the model's outputs closest to the original's on the calibration inputs is kept; what each
gains is measured on inputs that were held out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import onnx

from dcc.compilation import compile
from dcc.compression import compress_model
from dcc.container import Container
from dcc.differences import OutputDifference, json_number
from dcc.importer.graph import read_graph
from dcc.onnx_weights import array_of, load_model, restore, weight_tensors
from dcc.passes.options import Recipe
from dcc.recipes import load_recipe
from dcc.runtime import Module
from dcc.training.activation_statistics import gather_statistics, importances
from dcc.training.bias_correction import corrected_biases
from dcc.training.calibration_inputs import Arrays, model_inputs, read_batches, split_batches

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """One way to compress, and how far its outputs are from the original's.

    Attributes
    ----------
    weighted, bias_corrected
        What it does beyond the recipe.
    calibration_db, held_out_db
        Signal-to-noise ratio of the outputs, in decibel, on the inputs that were learnt from and on
        the others; None where nothing differs.
    """

    weighted: bool
    bias_corrected: bool
    calibration_db: float | None
    held_out_db: float | None

    @property
    def label(self) -> str:
        """What it does, in words."""
        parts = ["recipe alone"]
        parts += ["weighted k-means"] * self.weighted + ["bias correction"] * self.bias_corrected
        return " + ".join(parts[1:] or parts)


@dataclass(frozen=True)
class Calibration:
    """A calibrated container, and what calibration gained.

    Attributes
    ----------
    variants
        All that were tried, the recipe alone first.
    kept
        The one that ``container`` is.
    batches, held_out
        Number of batches that were learnt from, and that were measured on.
    biases
        Number of biases that bias correction changed.
    """

    container: Container
    variants: list[Variant]
    kept: Variant
    batches: int
    held_out: int
    biases: int

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return {
            "batches": self.batches,
            "held_out": self.held_out,
            "biases": self.biases,
            "variants": [
                {
                    **asdict(variant),
                    "calibration_db": json_number(variant.calibration_db),
                    "held_out_db": json_number(variant.held_out_db),
                    "kept": variant is self.kept,
                }
                for variant in self.variants
            ],
        }


def calibrate(
    model: str | PathLike[str] | onnx.ModelProto,
    inputs: str | PathLike[str] | Arrays,
    recipe: str | PathLike[str] | Recipe = "deep-compression",
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Calibration:
    """Compress a model by a recipe, with the help of inputs.

    Parameters
    ----------
    model
        An ONNX model or its path.
    inputs
        Arrays, or the path of an ``.npz`` file with arrays, by input name (``x`` where there is one
        input), samples along the first axis. A few dozen do; one batch in four is held out.
    recipe
        As for :func:`dcc.compress`.
    shapes
        ONNX input name -> shape, for inputs with dynamic dimensions.

    Raises
    ------
    ModelError, RecipeError, InputError, CompileError
        With what was wrong, where, and what to do.
    """
    proto = model if isinstance(model, onnx.ModelProto) else load_model(Path(model))
    chosen = load_recipe(recipe)
    learnt, held_out = split_batches(read_batches(inputs, model_inputs(proto, shapes)))
    statistics = gather_statistics(proto, learnt, shapes)
    weights = importances(statistics)
    reference = _Reference(_dense(proto, shapes), learnt, held_out)
    found: list[tuple[Variant, Container]] = []
    corrected = 0
    for weighted in (False, True):
        importance = weights if weighted else {}
        container = compress_model(proto, chosen, shapes, importance)
        found.append(reference.measure(container, weighted, False))
        after = {name: tensor.decode() for name, tensor in container.tensors.items()}
        biases = corrected_biases(read_graph(proto.graph), after, statistics)
        if biases:
            corrected = len(biases)
            arrays = {name: array_of(t, name) for name, t in weight_tensors(proto).items()}
            moved = restore(proto, {**arrays, **biases})
            container = compress_model(moved, chosen, shapes, importance)
            found.append(reference.measure(container, weighted, True))
    kept, container = max(found, key=lambda each: _decibel(each[0].calibration_db))
    _log.info("calibration: kept %s", kept.label)
    variants = [variant for variant, _ in found]
    return Calibration(container, variants, kept, len(learnt), len(held_out), corrected)


def _dense(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None) -> Module:
    return compile(model, recipe="dense", shapes=shapes).load()


class _Reference:
    """The answers of the original model, and how far others are from them."""

    def __init__(self, module: Module, learnt: list[Arrays], held_out: list[Arrays]) -> None:
        self._shapes = {spec.name: spec.shape for spec in module.inputs}
        self._outputs = [spec.name for spec in module.outputs if spec.dtype.startswith("float")]
        self._sets = [[(batch, module(batch)) for batch in part] for part in (learnt, held_out)]
        self._names = [spec.name for spec in module.outputs]

    def measure(
        self, container: Container, weighted: bool, bias_corrected: bool
    ) -> tuple[Variant, Container]:
        module = _dense(container.to_onnx(), self._shapes)
        learnt, held_out = (self._ratio(module, part) for part in self._sets)
        return Variant(weighted, bias_corrected, learnt, held_out), container

    def _ratio(self, module: Module, part: list[tuple[Arrays, list[Any]]]) -> float | None:
        """Signal over noise, the noise of each output measured by its own signal."""
        differences = {name: OutputDifference(name) for name in self._outputs}
        for batch, expected in part:
            for name, ours, theirs in zip(self._names, module(batch), expected, strict=True):
                if name in differences:
                    differences[name].add(ours, theirs)
        shares = [each.noise / each.signal for each in differences.values() if each.signal]
        noise = sum(shares) / max(len(shares), 1)
        return -10 * math.log10(noise) if noise else None


def _decibel(ratio: float | None) -> float:
    """Order ratios: no noise at all is best, what is not a number worst."""
    if ratio is None:
        return math.inf
    return -math.inf if math.isnan(ratio) else ratio
