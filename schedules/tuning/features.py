"""What the XGBoost model knows of a candidate: its decisions, the layer, and estimates of both.

MetaSchedule's own features are those of the scheduled stub, which is the same for all candidates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms

from dcc.codegen.weight_matrix import FORMS
from dcc.schedules.cost_model import Estimate, estimate_all
from dcc.schedules.tunable import Value
from dcc.schedules.tunables import tunables_of
from dcc.schedules.tuning.candidate import Candidate, Space
from dcc.schedules.tuning.stub import LAYER_KEY, candidate_of

LEFT_TO_THE_KERNEL = -1.0
Features = npt.NDArray[np.float32]


@derived_object
class CandidateFeatures(ms.feature_extractor.PyFeatureExtractor):
    """Features of candidates; ``spaces`` by the key of their layer."""

    def __init__(self, spaces: dict[str, Space]) -> None:
        super().__init__()
        self.spaces = spaces
        self.layers = {key: layer_features(space) for key, space in spaces.items()}
        self.estimates = {
            key: estimate_all(space.weight, space.shape, space.target)
            for key, space in spaces.items()
        }

    def extract_from(
        self, context: ms.TuneContext, candidates: list[ms.MeasureCandidate]
    ) -> list[tvm.runtime.Tensor]:
        """One row for each candidate."""
        key = str(context.mod["main"].attrs[LAYER_KEY])
        space, layer, estimates = self.spaces[key], self.layers[key], self.estimates[key]
        rows = []
        for measured in candidates:
            candidate = candidate_of(measured.sch.trace, space)
            row = candidate_features(candidate, space, estimates[candidate.form])
            rows.append(tvm.runtime.tensor(np.concatenate([row, layer])[None]))
        return rows


def layer_features(space: Space) -> Features:
    """Sizes of the layer, as logarithms, and its density."""
    weight, shape = space.weight, space.shape
    sizes = [weight.rows, weight.columns, shape.pixels, 1 + weight.code_bits]
    geometry = shape.geometry
    kernel = (1, 1) if geometry is None else geometry.kernel
    strides = (1, 1) if geometry is None else geometry.strides
    sizes += [kernel[0] * kernel[1], strides[0] * strides[1]]
    return np.array([*np.log2(sizes), weight.density], np.float32)


def candidate_features(candidate: Candidate, space: Space, estimate: Estimate) -> Features:
    """Form, values of all tunables, slices of the threads, bytes and time of the cost model."""
    values = space.every_value(candidate)
    names = [tunable.name for tunable in tunables_of(space.target)]
    numbers = [_number(values[name], candidate, name) for name in names]
    forms = [float(candidate.form == form) for form in FORMS]
    slices = space.weight.rows / max(float(values["lanes"] or 1), 1.0)
    estimated = [np.log2(1 + estimate.nanoseconds), np.log2(1 + estimate.touched_bytes)]
    return np.array([*forms, *numbers, np.log2(1 + slices), *estimated], np.float32)


def _number(value: Value, candidate: Candidate, name: str) -> float:
    if value is None:
        return LEFT_TO_THE_KERNEL
    if isinstance(value, str):
        return float(sum(value.encode()))  # any number of its own does for a tree
    return float(value)
