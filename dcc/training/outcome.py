"""What a training came to: bytes, and accuracy measured on the compiled module."""

from __future__ import annotations

import math
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx

from dcc.accuracy import module_accuracy
from dcc.compilation import compile as compile_model
from dcc.container import Container
from dcc.datasets import LabelledData
from dcc.errors import RecipeError
from dcc.passes.options import Recipe
from dcc.runtime import load
from dcc.training.epoch_report import EpochReport


@dataclass(frozen=True)
class Finetuning:
    """The result of :func:`dcc.finetune`.

    Attributes
    ----------
    container
        The compressed model.
    recipe
        The recipe that was applied: the one that was given, or the one that was found.
    splits
        One line about the data.
    epochs
        What each epoch came to.
    dense_bytes, bytes
        Of the ONNX file and of the container.
    dense_validation, validation
        Accuracy in percent before and after, on the split that chose between epochs.
    dense_accuracy, accuracy
        Accuracy in percent before and after, on the test split; ``accuracy`` is that of the module
        compiled from the container, computing from its compressed weights.
    max_drop, target_ratio
        What was asked for.
    """

    container: Container = field(repr=False)
    recipe: Recipe = field(repr=False)
    splits: str
    epochs: list[EpochReport] = field(repr=False)
    dense_bytes: int
    bytes: int
    dense_validation: float
    validation: float
    dense_accuracy: float
    accuracy: float
    max_drop: float | None = None
    target_ratio: float | None = None

    @property
    def ratio(self) -> float:
        """Bytes of the ONNX file over bytes of the container."""
        return self.dense_bytes / self.bytes

    @property
    def drop(self) -> float:
        """Percentage points lost on the test split."""
        return self.dense_accuracy - self.accuracy

    @property
    def holds(self) -> bool:
        """Whether the limits that were asked for are kept."""
        small_enough = self.target_ratio is None or self.ratio >= self.target_ratio
        return small_enough and (self.max_drop is None or self.drop <= self.max_drop + 1e-9)

    def to_json(self) -> dict[str, Any]:
        """Everything but the container, for ``--json``."""
        names = (
            "splits",
            "dense_bytes",
            "bytes",
            "ratio",
            "dense_validation",
            "validation",
            "dense_accuracy",
            "accuracy",
            "drop",
            "max_drop",
            "target_ratio",
            "holds",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "epochs": [asdict(report) for report in self.epochs],
        }


def check_limits(max_drop: float | None, target_ratio: float | None) -> None:
    """Refuse limits that nothing can hold to.

    Raises
    ------
    RecipeError
        A drop below 0, a ratio that is not above 0, or not a finite number.
    """
    if max_drop is not None and not 0 <= max_drop < math.inf:
        raise RecipeError(
            f"max_drop is {max_drop:g}; expected the points of accuracy that may be lost, 0 or more"
        )
    if target_ratio is not None and not 0 < target_ratio < math.inf:
        raise RecipeError(
            f"target_ratio is {target_ratio:g}; expected how many times smaller, above 0"
        )


def compiled_accuracy(container: Container | onnx.ModelProto, data: LabelledData) -> float:
    """Accuracy in percent of the module that is compiled from ``container`` for this machine.

    Raises
    ------
    InputError
        The data do not fit the model's input.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.so"
        compile_model(container, path)
        return module_accuracy(load(path), data)
