"""Which constants of a graph stay parameters of the Relax function.

Every float tensor that reaches the weight input of an operator that can compute from a compressed
weight, directly or through operators that only move elements; and every other float tensor that is
not tiny, so that biases can be coded, too. What an operator reads like an attribute (clip bounds,
paddings, scales, statistics, gate biases) and all integers are constants.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcc.importer.graph import Graph

SMALLEST_PARAMETER = 8
"""Elements below which a float tensor that is no weight becomes a constant."""

WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gather": (0,),
    "LSTM": (1, 2),
    "GRU": (1, 2),
}

MOVING_OPERATORS = frozenset(
    {"Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"}
)

ATTRIBUTE_INPUTS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2, 3, 4),
    "Clip": (1, 2),
    "GRU": (3, 7),
    "LSTM": (3, 7),
    "Dropout": (1, 2),
    "OneHot": (1, 2),
    "Pad": (2,),
    "Pow": (1,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
}


@dataclass(frozen=True)
class WeightChoice:
    """Names of one graph's constants that stay parameters.

    ``weights`` reach a weight input and are never folded; ``others`` (biases and the like) may be.
    """

    weights: frozenset[str]
    others: frozenset[str]


def choose_parameters(graph: Graph) -> WeightChoice:
    """Split the float constants of ``graph``, not of its subgraphs, into weights and others."""
    consumers = _all_consumers(graph)
    weights, others = set(), set()
    for name, value in graph.constants.items():
        if not _is_float(value):
            continue
        if value.ndim > 0 and value.size > 1 and _weight_reader(name, consumers) is not None:
            weights.add(name)
        elif value.size >= SMALLEST_PARAMETER and not _only_attribute(name, consumers):
            others.add(name)
    return WeightChoice(frozenset(weights), frozenset(others))


Consumers = dict[str, list[tuple[str, int, tuple[str, ...]]]]


def _all_consumers(graph: Graph, found: Consumers | None = None) -> Consumers:
    """Tensor name -> (operator, input position, outputs) of its readers, subgraphs included."""
    found = {} if found is None else found
    for node in graph.nodes:
        for position, name in enumerate(node.inputs):
            found.setdefault(name, []).append((node.operator, position, node.outputs))
    for subgraph in graph.subgraphs():
        _all_consumers(subgraph, found)
    return found


def _weight_reader(name: str, consumers: Consumers) -> str | None:
    """Find the operator whose weight input the tensor reaches, if there is one."""
    pending, seen = [name], {name}
    while pending:
        for operator, position, outputs in consumers.get(pending.pop(), []):
            if position in WEIGHT_INPUTS.get(operator, ()):
                return operator
            if operator in MOVING_OPERATORS and position == 0 and outputs[0] not in seen:
                seen.add(outputs[0])
                pending.append(outputs[0])
    return None


def _only_attribute(name: str, consumers: Consumers) -> bool:
    uses = consumers.get(name, [])
    return bool(uses) and all(
        position in ATTRIBUTE_INPUTS.get(operator, ()) for operator, position, _ in uses
    )


def _is_float(value: np.ndarray) -> bool:
    return value.dtype.kind == "f" or value.dtype.name == "bfloat16"


def operator_types(graph: Graph) -> dict[str, str]:
    """Tensor name -> operator that reads it as a weight, for ``graph`` and its subgraphs.

    An operator that a recipe can name: ``Conv``, ``Gemm``, ``MatMul``, ``Gather``, ``LSTM``,
    ``GRU``, ``ConvTranspose``.
    """
    consumers = _all_consumers(graph)
    types: dict[str, str] = {}
    pending = [graph]
    while pending:
        current = pending.pop()
        pending += current.subgraphs()
        for name in current.constants:
            reader = _weight_reader(name, consumers)
            if reader is not None:
                types[name] = reader
    return types
