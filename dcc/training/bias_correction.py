"""Bias correction: takes back the shift that compressed weights give a layer's mean output.

With ``d`` the change of a weight, the output of its layer moves by ``d * E[x]`` on average; the
bias gives it back (Nagel et al. 2019, section 4.2, with means that were measured). Where a layer
has no bias of its own, the mean of the normalisation behind it, or an addition, takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dcc.importer.graph import Graph, Node
from dcc.training.input_moments import InputMoments
from dcc.training.weight_readings import WeightReading

Values = Mapping[str, npt.NDArray[np.generic]]
Array = npt.NDArray[np.float64]

_BIAS, _MEAN = 2, 3
"""Inputs of ``Conv`` and ``Gemm``, and of ``BatchNormalization``."""


def corrected_biases(
    graph: Graph, compressed: Values, statistics: Sequence[tuple[WeightReading, InputMoments]]
) -> dict[str, npt.NDArray[np.generic]]:
    """Compute new values of the biases of layers whose weights have changed.

    Parameters
    ----------
    graph
        The model, with its weights as they were.
    compressed
        Name of a weight -> its value after compression.
    statistics
        What each weight is multiplied with.

    Returns
    -------
    dict
        Name of the bias, or of the mean of a normalisation, -> its new value. Layers whose bias is
        missing, computed or shared with another layer have none.
    """
    readers = _readers(graph)
    found: dict[str, npt.NDArray[np.generic]] = {}
    for reading, moments in statistics:
        shift = _mean_shift(reading, moments, graph.constants, compressed)
        if shift is None or not shift.any():
            continue
        place = _place(reading.node, graph, readers)
        if place is None:
            continue
        name, factor = place
        value = graph.constants[name]
        if value.size == shift.size and name not in found:
            moved = value.astype(np.float64) + factor * shift.reshape(value.shape)
            found[name] = moved.astype(value.dtype)
    return found


def _mean_shift(
    reading: WeightReading, moments: InputMoments, before: Values, after: Values
) -> Array | None:
    """Return what the outputs lost on average, one number for each output channel."""
    node = reading.node
    if reading.weight not in after:
        return None
    change = before[reading.weight].astype(np.float64) - after[reading.weight].astype(np.float64)
    lost = change.ravel()[reading.positions] * moments.mean
    if node.operator == "Conv":
        return np.asarray(lost.sum(axis=tuple(range(1, lost.ndim))))
    if node.operator == "Gemm":
        axis = 1 if node.attributes.get("transB", 0) else 0
        return np.asarray(node.attributes.get("alpha", 1.0) * lost.sum(axis=axis))
    if node.operator == "MatMul" and reading.position == 1 and lost.ndim == 2:
        return np.asarray(lost.sum(axis=0))
    return None


def _place(
    node: Node, graph: Graph, readers: Mapping[str, Sequence[Node]]
) -> tuple[str, float] | None:
    """Constant that shifts the outputs of ``node``, and what it must change by for a shift of 1."""
    if len(node.inputs) > _BIAS and node.inputs[_BIAS]:
        beta = node.attributes.get("beta", 1.0)
        return _own(node.inputs[_BIAS], 1.0 / beta if beta else 0.0, graph, readers)
    following = readers.get(node.outputs[0], ())
    if len(following) != 1 or node.outputs[0] in graph.outputs:
        return None
    (after,) = following
    if after.operator == "BatchNormalization" and after.inputs[0] == node.outputs[0]:
        return _own(after.inputs[_MEAN], -1.0, graph, readers)
    if after.operator == "Add":
        other = after.inputs[1 if after.inputs[0] == node.outputs[0] else 0]
        last = graph.constants[other].shape[-1:] if other in graph.constants else ()
        per_output = last == (graph.constants[other].size,) if last else False
        return _own(other, 1.0, graph, readers) if per_output and node.operator != "Conv" else None
    return None


def _own(
    name: str, factor: float, graph: Graph, readers: Mapping[str, Sequence[Node]]
) -> tuple[str, float] | None:
    """``name`` where it is a constant that nothing else reads."""
    if name not in graph.constants or len(readers[name]) != 1 or name in graph.outputs:
        return None
    return name, factor


def _readers(graph: Graph) -> dict[str, list[Node]]:
    """Tensor -> the nodes that read it, those of subgraphs included."""
    found: dict[str, list[Node]] = {}
    pending = [graph]
    while pending:
        current = pending.pop()
        pending += current.subgraphs()
        for node in current.nodes:
            for name in node.inputs:
                found.setdefault(name, []).append(node)
    return found
