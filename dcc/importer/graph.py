"""The ONNX graph as plain Python data: constants gathered, attributes read, subgraphs nested.

Initialisers that older files also list as graph inputs are constants here and no inputs, and
``Constant`` nodes are gone: TVM's importer fails on the first and keeps the second apart from
initialisers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from dcc.errors import ModelError

DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Node:
    """One ONNX node; an absent optional input or output is an empty string."""

    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def label(self) -> str:
        """How messages name the node: its name (or first output) and its operator."""
        return f"node '{self.name or next(filter(None, self.outputs), '?')}' ({self.operator})"


@dataclass
class Graph:
    """A graph or subgraph; ``constants`` holds initialisers and ``Constant`` nodes by name."""

    name: str
    inputs: list[onnx.ValueInfoProto]
    outputs: list[str]
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def subgraphs(self) -> list[Graph]:
        """Graphs in the attributes of this graph's nodes (one level)."""
        return [a for node in self.nodes for a in node.attributes.values() if isinstance(a, Graph)]


def read_graph(proto: onnx.GraphProto) -> Graph:
    """Convert a graph and its subgraphs.

    Raises
    ------
    ModelError
        If a tensor cannot be read, or is sparse.
    """
    if proto.sparse_initializer:
        name = proto.sparse_initializer[0].values.name
        raise ModelError(f"initialiser '{name}' is a sparse tensor; store it as a dense one")
    graph = Graph(proto.name, [], [output.name for output in proto.output])
    for tensor in proto.initializer:
        graph.constants[tensor.name] = read_array(tensor, f"initialiser '{tensor.name}'")
    graph.inputs = [i for i in proto.input if i.name not in graph.constants]
    for node_proto in proto.node:
        node = _read_node(node_proto)
        if node.operator == "Constant" and node.domain in DEFAULT_DOMAINS:
            graph.constants[node.outputs[0]] = _constant_value(node)
        else:
            graph.nodes.append(node)
    return graph


def read_array(tensor: onnx.TensorProto, where: str) -> np.ndarray:
    """Value of a tensor in the model file.

    Raises
    ------
    ModelError
        If the data is missing, of the wrong length or of a type without a numpy equivalent.
    """
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:
        reason = _first_line(error)
        raise ModelError(f"{where} cannot be read: {reason}; export the model again") from error


def _read_node(proto: onnx.NodeProto) -> Node:
    node = Node(
        operator=proto.op_type,
        domain=proto.domain,
        name=proto.name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={},
    )
    for attribute in proto.attribute:
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError as error:
            raise ModelError(
                f"{node.label}: attribute '{attribute.name}' has no value that ONNX knows"
            ) from error
        if isinstance(value, onnx.GraphProto):
            value = read_graph(value)
        elif not isinstance(value, (int, float, bytes, onnx.TensorProto)) and hasattr(
            value, "__iter__"
        ):
            value = tuple(value)
        node.attributes[attribute.name] = value
    return node


def _constant_value(node: Node) -> np.ndarray:
    """Value of a ``Constant`` node in any of the forms that ONNX allows."""
    (form, value), *others = [*node.attributes.items(), ("", None)]
    if len(others) > 1 or not form:
        raise ModelError(f"{node.label}: expected exactly one attribute with the value")
    if form == "value":
        return read_array(value, node.label)
    if form in ("value_float", "value_floats"):
        return np.asarray(value, dtype=np.float32)
    if form in ("value_int", "value_ints"):
        return np.asarray(value, dtype=np.int64)
    raise ModelError(f"{node.label}: attribute '{form}' is not supported (strings, sparse tensors)")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
