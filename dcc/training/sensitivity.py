"""How much accuracy each layer costs when it alone is pruned or shared.

Han, Pool, Tran, Dally 2015, section 4 and figure 6: layers differ much in how far they can be
pruned. Measured on labelled data that no figure is reported on, without any training.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch.func import functional_call

from dcc.datasets import LabelledData
from dcc.importer.graph import read_graph
from dcc.importer.weights import choose_parameters
from dcc.onnx_weights import array_of, weight_tensors
from dcc.progress import track
from dcc.training.data import to_tensors
from dcc.training.evaluate import Evaluation, evaluate
from dcc.training.layer_choices import BITS, DENSITIES, LayerChoice, compressed
from dcc.training.torch_graph import BIAS, TorchGraph

SMALLEST = 16
"""Elements below which a tensor is left alone: it has no bytes to save."""
SAMPLES = 2000
FEW_SAMPLES = 200
"""Below this many validation samples, a warning says so."""

_log = logging.getLogger(__name__)

Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class SensitivityPoint:
    """The whole model with one layer compressed.

    Attributes
    ----------
    accuracy, drop
        In percent, and in percentage points below the model's own.
    loss
        Mean cross-entropy.
    bytes
        Of the layer, as stored.
    """

    density: float
    bits: int | None
    accuracy: float
    drop: float
    loss: float
    bytes: int

    @property
    def choice(self) -> LayerChoice:
        """The settings that were measured."""
        return LayerChoice(self.density, self.bits)


@dataclass(frozen=True)
class LayerSensitivity:
    """One weight: its points by falling density, with values kept, then by falling bits."""

    name: str
    operator_type: str
    shape: tuple[int, ...]
    points: list[SensitivityPoint]

    def by_density(self) -> list[SensitivityPoint]:
        """Those that were pruned and not shared."""
        return [point for point in self.points if point.bits is None]

    def by_bits(self) -> list[SensitivityPoint]:
        """Those that were shared and not pruned."""
        return [point for point in self.points if point.bits is not None]


@dataclass(frozen=True)
class Sensitivity:
    """All layers of a model, and the model itself."""

    accuracy: float
    loss: float
    samples: int
    layers: list[LayerSensitivity]

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return asdict(self)


class Evaluator:
    """Accuracy and loss of a model with some of its weights replaced.

    Parameters
    ----------
    model
        Something that :class:`TorchGraph` can read.
    data
        Labelled samples; the first ``samples`` of a seeded order are used.
    """

    def __init__(self, model: onnx.ModelProto, data: LabelledData, samples: int = SAMPLES) -> None:
        self.graph = TorchGraph(model).eval()
        order = np.random.default_rng(0).permutation(len(data.labels))[:samples]
        chosen = LabelledData(data.samples[order], data.labels[order])
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.graph.to(device)
        self._data = to_tensors(chosen, self.graph.sample_shape, device)
        self._parameters = {name: key for key, name in self.graph.weight_names.items()}
        self.samples = len(order)

    @property
    def weights(self) -> list[str]:
        """Names of the weights that can be replaced."""
        return list(self._parameters)

    def __call__(self, arrays: Arrays) -> Evaluation:
        """Evaluate with these weights in the place of the model's own."""
        device = self._data[0].device
        given = {
            self._parameters[name]: torch.from_numpy(np.array(array, np.float32)).to(device)
            for name, array in arrays.items()
        }

        def forward(samples: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = functional_call(self.graph, given, (samples,))
            return result

        return evaluate(forward, *self._data)


def measure_sensitivity(
    model: onnx.ModelProto,
    data: LabelledData,
    *,
    densities: Sequence[float] = DENSITIES,
    bits: Sequence[int] = BITS,
    samples: int = SAMPLES,
) -> Sensitivity:
    """Measure what pruning and sharing each layer, and nothing else, costs.

    Parameters
    ----------
    model
        With one input, of operators that have a form in torch.
    data
        Labelled samples, not those of the test split: what is chosen by these figures is selected
        on them.
    densities, bits
        Points to measure; biases are never pruned.
    samples
        How many of the data are used, at most.

    Raises
    ------
    ModelError, InputError
        An operator has no form in torch (the message names it), or the data do not fit.
    """
    evaluator = Evaluator(model, data, samples)
    return sensitivity_of(model, evaluator, densities, bits)


def sensitivity_of(
    model: onnx.ModelProto,
    evaluator: Evaluator,
    densities: Sequence[float] = DENSITIES,
    bits: Sequence[int] = BITS,
) -> Sensitivity:
    """Measure with an evaluator that is at hand; see :func:`measure_sensitivity`."""
    if evaluator.samples < FEW_SAMPLES:
        _log.warning(
            "%d validation samples are few: one is %.2f points of accuracy, and what is chosen by "
            "them may lose more on other data; expected %d or more",
            evaluator.samples,
            100 / evaluator.samples,
            FEW_SAMPLES,
        )
    base = evaluator({})
    tensors = weight_tensors(model)
    types = evaluator.graph.operator_types
    choice = choose_parameters(read_graph(model.graph))
    coded = choice.weights | choice.others
    layers = []
    for name in track("measuring sensitivity", evaluator.weights):
        weight = array_of(tensors[name], name)
        if weight.size < SMALLEST or name not in coded:
            continue
        pruned = () if types[name] == BIAS else sorted(set(densities) - {1.0}, reverse=True)
        choices = [LayerChoice(density) for density in (1.0, *pruned)]
        choices += [LayerChoice(1.0, width) for width in sorted(set(bits), reverse=True)]
        points = _points(name, weight, choices, base, evaluator)
        layers.append(LayerSensitivity(name, types[name], weight.shape, points))
    return Sensitivity(base.accuracy, base.loss, evaluator.samples, layers)


def _points(
    name: str,
    weight: npt.NDArray[np.floating],
    choices: Sequence[LayerChoice],
    base: Evaluation,
    evaluator: Evaluator,
) -> list[SensitivityPoint]:
    points = []
    for choice in choices:
        encoded = compressed(weight, choice)
        found = base if choice == LayerChoice() else evaluator({name: encoded.decode()})
        points.append(
            SensitivityPoint(
                choice.density,
                choice.bits,
                found.accuracy,
                base.accuracy - found.accuracy,
                found.loss,
                encoded.nbytes().total,
            )
        )
    return points
