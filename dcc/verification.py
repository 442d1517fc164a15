"""Compares a compiled module with ONNX Runtime: errors, signal-to-noise ratio, accuracy.

What decides depends on the reference. Against what the module was compiled from (a ``.dcz`` file,
or an ONNX file that the recipe did not change) the largest error must stay within the tolerance.
Against an ONNX file that the recipe changed, errors are wanted: the loss of accuracy decides if a
limit is given, and otherwise the numbers are only reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dcc.accuracy import classes, classifier_input
from dcc.datasets import LabelledData, read_labelled
from dcc.differences import OutputDifference
from dcc.errors import InputError
from dcc.progress import track
from dcc.random_inputs import Range, random_inputs
from dcc.reference import ReferenceModel
from dcc.running import RunnableModule, each_answer
from dcc.runtime import Module, load

TOLERANCE = 1e-5
TOLERANCES = {"fp16": 1e-2}
"""By the precision of what kernels read: rounding to 11 bits in every layer."""
Criterion = Literal["tolerance", "accuracy", "report"]
RANDOM_DRAWS = 3
INTEGER_RUNS = 3
"""So many runs of an accelerator are compared with its integer reference."""


@dataclass
class Verification:
    """What the comparison found.

    Attributes
    ----------
    holds
        Whether the module is as good as was asked for.
    criterion
        What decided: the tolerance, the loss of accuracy, or nothing ("report").
    reason
        One line for the user.
    runs
        How many times both were run.
    accuracy, reference_accuracy
        In percent, if there were labelled data.
    """

    outputs: list[OutputDifference]
    criterion: Criterion
    holds: bool
    reason: str
    runs: int
    accuracy: float | None = None
    reference_accuracy: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything, for ``--json``."""
        fields = ("holds", "criterion", "reason", "runs", "accuracy", "reference_accuracy")
        return {
            **{name: getattr(self, name) for name in fields},
            "outputs": [output.to_json() for output in self.outputs],
        }


def verify(
    module: str | Path | RunnableModule,
    reference: str | Path,
    *,
    inputs: Mapping[str, np.ndarray] | None = None,
    data: str | Path | None = None,
    scale: float | None = None,
    tolerance: float | None = None,
    max_drop: float | None = None,
    driver: str | Path | None = None,
    ranges: Mapping[str, Range] | None = None,
    seed: int = 0,
) -> Verification:
    """Run a module and ONNX Runtime on the same inputs and compare.

    Parameters
    ----------
    module
        A compiled module or its path; a loaded one may run elsewhere (:mod:`dcc.running`).
    reference
        An ONNX file or a ``.dcz`` file.
    inputs
        Arrays by input name; random ones are drawn otherwise (see :mod:`dcc.random_inputs`).
    data, scale
        Labelled data (see :func:`dcc.datasets.read_labelled`), to compare accuracy as well.
    tolerance
        Largest error over largest magnitude that is allowed. Default: 1e-5; 1e-2 for modules that
        read half precision.
    max_drop
        Percentage points of accuracy that may be lost; needs ``data`` and then decides alone.
    driver
        Driver library of a module with an accelerator, see :func:`dcc.load`. Such a module must
        also equal its integer reference bit for bit.

    Raises
    ------
    InputError
        Inputs or data do not fit the model, or ``max_drop`` is given without data.
    ModuleError, ModelError, ContainerError
        A file cannot be read, or the two are not the same model.
    DccError
        ONNX Runtime is not installed.
    """
    if max_drop is not None and data is None:
        raise InputError("--max-drop compares accuracies and needs labelled data: give --data")
    ours = load(module, driver) if isinstance(module, str | Path) else module
    theirs = ReferenceModel(reference)
    theirs.check_interface(ours.inputs, ours.outputs)
    comparison = _Comparison(ours, theirs, integer_reference(ours))
    if data is not None:
        comparison.run_labelled(read_labelled(data, scale))
    if data is None or inputs is not None:
        draws = [inputs] if inputs is not None else _draws(ours, ranges, seed)
        for values in draws:
            comparison.run(values)
    changed = Path(reference).suffix != ".dcz" and recipe_changed_weights(ours.metadata)
    if tolerance is None:
        tolerance = TOLERANCES.get(ours.metadata.get("precision", ""), TOLERANCE)
    return comparison.judge(changed, tolerance, max_drop)


def recipe_changed_weights(metadata: Mapping[str, Any]) -> bool:
    """Whether the recipe of a module asks for other weights than those of the ONNX file."""
    recipe = metadata.get("source", {}).get("recipe") or {}
    settings = [
        recipe.get("settings", {}),
        *recipe.get("operator_types", {}).values(),
        *(values for _, values in recipe.get("layers", ())),
    ]
    return any(
        values.get("density") is not None
        or values.get("threshold") is not None
        or values.get("bits") is not None
        or values.get("structure", "element") == "n:m"
        for values in settings
    )


def _draws(
    module: RunnableModule, ranges: Mapping[str, Range] | None, seed: int
) -> Iterable[Mapping[str, np.ndarray]]:
    return [random_inputs(module.inputs, seed + draw, ranges) for draw in range(RANDOM_DRAWS)]


@dataclass
class _Comparison:
    module: RunnableModule
    reference: ReferenceModel
    integers: Module | None = None
    differences: list[OutputDifference] = field(default_factory=list)
    runs: int = 0
    right: tuple[int, int] | None = None
    samples: int = 0
    unequal: int = 0

    def __post_init__(self) -> None:
        self.differences = [OutputDifference(spec.name) for spec in self.module.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Run both once; the first output of each."""
        return self.compare(inputs, self.module(inputs))

    def compare(
        self, inputs: Mapping[str, np.ndarray], ours: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compare what the module answered; the first output of each."""
        theirs = self.reference(inputs)
        if self.integers is not None and self.runs < INTEGER_RUNS:
            pairs = zip(ours, self.integers(inputs), strict=True)
            self.unequal += any(not np.array_equal(a, b) for a, b in pairs)
        for difference, actual, expected in zip(self.differences, ours, theirs, strict=True):
            difference.add(actual, expected)
        self.runs += 1
        return ours[0], theirs[0]

    def run_labelled(self, data: LabelledData) -> None:
        """Run both on all data and count right answers: the largest value of the first output."""
        spec = classifier_input(self.module)
        batches = data.batches(spec)
        answers: list[tuple[np.ndarray, np.ndarray]] = []
        found = each_answer(self.module, ({spec.name: batch} for batch in batches))
        for batch in track("verifying", batches):
            outputs = self.compare({spec.name: batch}, next(found))
            answers.append((classes(outputs[0], spec.shape[0]), classes(outputs[1], spec.shape[0])))
        self.samples = len(data.labels)
        ours, theirs = (np.concatenate(side)[: self.samples] for side in zip(*answers, strict=True))
        self.right = int((ours == data.labels).sum()), int((theirs == data.labels).sum())

    def judge(self, changed: bool, tolerance: float, max_drop: float | None) -> Verification:
        quantized = self.integers is not None
        criterion: Criterion = "report" if changed or quantized else "tolerance"
        worst = max((output.relative_error for output in self.differences), default=0.0)
        accuracies = (
            [100 * count / self.samples for count in self.right] if self.right else [None] * 2
        )
        if max_drop is not None and accuracies[0] is not None and accuracies[1] is not None:
            criterion = "accuracy"
            drop = accuracies[1] - accuracies[0]
            holds = drop <= max_drop + 1e-9
            reason = f"accuracy drops by {drop:.2f} points, allowed are {max_drop:g}"
        elif criterion == "tolerance":
            holds = worst <= tolerance
            reason = (
                f"largest error over largest magnitude is {worst:.1e}, allowed is {tolerance:g}"
            )
        else:
            holds = math.isfinite(worst)
            cause = "its tensors are int8" if quantized else "the recipe changed the weights"
            reason = (
                f"{cause}, so errors are expected (--max-drop sets a limit)"
                if holds
                else "finite numbers and others (NaN, infinity) stand in different places"
            )
        if quantized:
            compared = min(self.runs, INTEGER_RUNS)
            same = compared - self.unequal
            holds = holds and not self.unequal
            reason += f"; equal to the integer reference bit for bit in {same} of {compared} runs"
        return Verification(self.differences, criterion, holds, reason, self.runs, *accuracies)


def integer_reference(module: RunnableModule) -> Module | None:
    """Make the same module with numpy in the place of its accelerator; None without one."""
    from dcc.accelerator.executor import Executor
    from dcc.accelerator.reference import ReferenceExecutor

    if not isinstance(module, Module) or not isinstance(module.accelerator, Executor):
        return None
    return module.on(ReferenceExecutor(module.accelerator.operations))
