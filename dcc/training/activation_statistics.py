"""Runs a model on inputs of the user's and gathers what its weights are multiplied with.

The model is compiled with the activations in question as further outputs, so that anything dcc
compiles can be observed, with nothing but dcc itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from dcc.compilation import compile
from dcc.importer.graph import read_graph
from dcc.progress import track
from dcc.training.input_moments import InputMoments, input_moments
from dcc.training.weight_readings import WeightReading, weight_readings

Batch = Mapping[str, npt.NDArray[np.generic]]
DAMPING = 0.01
"""Of the mean over a weight, added to the importance of each of its elements."""


def gather_statistics(
    model: onnx.ModelProto,
    batches: Sequence[Batch],
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> list[tuple[WeightReading, InputMoments]]:
    """Moments of the inputs of every weight that is read at the top level of the graph.

    Parameters
    ----------
    model
        With its weights.
    batches
        Arrays by input name, in the shapes that the model is compiled for.
    shapes
        Input name -> shape, for inputs with dynamic dimensions.

    Raises
    ------
    ModelError, CompileError, InputError
        The model cannot be compiled, or the inputs do not fit.
    """
    readings = weight_readings(read_graph(model.graph))
    names = {value.name for value in model.graph.input}
    outputs = [output.name for output in model.graph.output]
    wanted = {reading.activation for reading in readings} - names - set(outputs)
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    for name in sorted(wanted):
        probed.graph.output.append(onnx.ValueInfoProto(name=name))
    module = compile(probed, recipe="dense", shapes=shapes).load()
    sums: dict[int, InputMoments] = {}
    for batch in track("observing", batches):
        seen = dict(batch)
        seen.update(zip((spec.name for spec in module.outputs), module(batch), strict=True))
        for index, reading in enumerate(readings):
            moments = input_moments(reading, seen[reading.activation])
            sums[index] = sums[index] + moments if index in sums else moments
    return [(readings[index], moments) for index, moments in sums.items()]


def importances(
    statistics: Sequence[tuple[WeightReading, InputMoments]],
) -> dict[str, npt.NDArray[np.float64]]:
    """How much the square of an error of each weight's elements costs, in the weight's shape.

    The mean square of its input, summed over the operators that read it. A hundredth of the mean
    over the weight is added: an input that was zero in every sample need not stay so.
    """
    found: dict[str, npt.NDArray[np.float64]] = {}
    for reading, moments in statistics:
        size = reading.positions.size
        importance = found.setdefault(reading.weight, np.zeros(size))
        importance[reading.positions.ravel()] += np.broadcast_to(
            moments.mean_square, reading.positions.shape
        ).ravel()
    return {
        name: importance + max(DAMPING * importance.mean(), np.finfo(np.float32).tiny)
        for name, importance in found.items()
    }
