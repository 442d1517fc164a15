"""Where the weights of an ONNX graph are read, and which activation each is multiplied with.

A weight may reach its operator through operators that only move elements (``Transpose``,
``Reshape``); an array of positions that takes the same way tells where each element ends up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.importer.graph import Graph, Node
from dcc.importer.weights import WEIGHT_INPUTS

Positions = npt.NDArray[np.int64]

PARTNERS: dict[str, dict[int, tuple[bool, int]]] = {
    "Conv": {1: (True, 0)},
    "Gather": {0: (True, 1)},
    "Gemm": {1: (True, 0)},
    "GRU": {1: (True, 0), 2: (False, 0)},
    "LSTM": {1: (True, 0), 2: (False, 0)},
    "MatMul": {0: (True, 1), 1: (True, 0)},
}
"""Operator -> position of a weight -> (is it an input?, position) of what it is multiplied with.

The state that the recurrence weights of ``LSTM`` and ``GRU`` are multiplied with is their first
output, a step later.
"""


@dataclass(frozen=True)
class WeightReading:
    """One operator that multiplies one weight with an activation.

    Attributes
    ----------
    weight
        ONNX name of the weight.
    node, position
        The operator, and which of its inputs the weight is.
    activation
        Name of the tensor that the weight is multiplied with.
    positions
        For each element as the operator reads it, its flat position in the stored weight.
    """

    weight: str
    node: Node
    position: int
    activation: str
    positions: Positions


def weight_readings(graph: Graph) -> list[WeightReading]:
    """Find every reading of a float weight in the top level of ``graph``, in its order.

    Weights that are multiplied with other weights, and those that only subgraphs read, have none.
    """
    moved: dict[str, tuple[str, Positions]] = {
        name: (name, np.arange(value.size).reshape(value.shape))
        for name, value in graph.constants.items()
        if value.dtype.kind == "f" and value.size > 1
    }
    readings = []
    for node in graph.nodes:
        result = _moved(node, moved, graph.constants)
        if result is not None:
            moved[node.outputs[0]] = result
        for position in WEIGHT_INPUTS.get(node.operator, ()):
            partner = _partner(node, position)
            known = moved.get(node.inputs[position]) if position < len(node.inputs) else None
            if known is not None and partner and partner not in moved:
                readings.append(WeightReading(known[0], node, position, partner, known[1]))
    return readings


def _partner(node: Node, position: int) -> str:
    """Name of what the weight is multiplied with; empty where the graph does not name it."""
    is_input, index = PARTNERS.get(node.operator, {}).get(position, (True, -1))
    names = node.inputs if is_input else node.outputs
    return names[index] if 0 <= index < len(names) else ""


def _moved(
    node: Node,
    moved: Mapping[str, tuple[str, Positions]],
    constants: Mapping[str, npt.NDArray[np.generic]],
) -> tuple[str, Positions] | None:
    """Name and positions of the weight that ``node`` passes on with its elements moved."""
    if not node.inputs or node.inputs[0] not in moved:
        return None
    name, positions = moved[node.inputs[0]]
    if node.operator in ("Identity", "Cast"):
        return name, positions
    if node.operator == "Transpose":
        return name, positions.transpose(node.attributes.get("perm"))
    if node.operator == "Flatten":
        axis = node.attributes.get("axis", 1) % (positions.ndim + 1)
        return name, positions.reshape(int(np.prod(positions.shape[:axis], dtype=int)), -1)
    if node.operator == "Reshape" and len(node.inputs) > 1 and node.inputs[1] in constants:
        return name, positions.reshape(_shape(node, positions, constants[node.inputs[1]]))
    return None


def _shape(node: Node, positions: Positions, wanted: npt.NDArray[np.generic]) -> list[int]:
    """Read ONNX's target shape, where 0 copies a dimension unless ``allowzero`` is set."""
    sizes = [int(size) for size in wanted]
    if node.attributes.get("allowzero", 0):
        return sizes
    return [positions.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
