"""The walk over an ONNX graph: each node is folded, converted by dcc, or converted by TVM."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from dcc.errors import ModelError
from dcc.importer import folding, upstream
from dcc.importer.converters import find_converter
from dcc.importer.graph import Graph, Node
from dcc.importer.operation import Operation, Value, constant, element_type, static_shape

FOLDED_ELEMENTS = 4096
"""A parameter up to this size that is no weight is folded into what only it is needed for."""


class Walk:
    """Converts the nodes of a graph into bindings of ``builder``'s current block.

    Attributes
    ----------
    values
        ONNX tensor name -> value; seeded with inputs, parameters and constants by the caller.
    parameters
        Relax parameter name -> its value.
    weights
        Names of the parameters among them that are never folded.
    """

    def __init__(
        self,
        builder: relax.BlockBuilder,
        opset: int,
        parameters: dict[str, np.ndarray],
        weights: frozenset[str],
        graph_values: dict[int, dict[str, Value]],
    ) -> None:
        self.builder = builder
        self.opset = opset
        self.parameters = parameters
        self.weights = weights
        self._graph_values = graph_values

    def run(self, graph: Graph, outer: dict[str, Value]) -> list[Value]:
        """Convert ``graph``, which may read the tensors ``outer``, and return its outputs."""
        values = {**outer, **self._graph_values[id(graph)]}
        for node in graph.nodes:
            operation = self._resolve(node, values)
            results = self._convert(operation, values)
            named = [(name, r) for name, r in zip(node.outputs, results, strict=False) if name]
            if len(named) < sum(map(bool, node.outputs)):
                raise operation.error(f"has {len(node.outputs)} outputs, got {len(results)}")
            values.update(named)
        for name in graph.outputs:
            if name not in values:
                raise ModelError(f"output '{name}' of graph '{graph.name}' is computed by no node")
        return [values[name] for name in graph.outputs]

    def _resolve(self, node: Node, values: dict[str, Value]) -> Operation:
        for name in node.inputs:
            if name and name not in values:
                raise ModelError(
                    f"{node.label} reads '{name}', which no input, initialiser or earlier node "
                    "defines; the model is malformed: run onnx.checker on it and export it again"
                )
        inputs = tuple(values[name] if name else None for name in node.inputs)
        return Operation(node, inputs, self.parameters, self.builder, self.opset)

    def _convert(self, operation: Operation, values: dict[str, Value]) -> Sequence[Value]:
        node = operation.node
        if node.operator == "If":
            return self._conditional(operation, values)
        folded = self._fold(operation)
        if folded is not None:
            return folded
        converter = find_converter(node.domain, node.operator)
        if converter is None and not upstream.supports(node.domain, node.operator):
            domain = node.domain or "ai.onnx"
            raise operation.error(f"no support for this operator of the domain '{domain}'")
        try:
            result = converter(operation) if converter else upstream.convert(operation)
            return [self._static(operation, value) for value in self._bind(result)]
        except ModelError:
            raise
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            reason = text.splitlines()[-1].strip()
            raise operation.error(f"cannot be imported: {reason}") from error

    def _bind(self, result: relax.Expr | Sequence[relax.Expr]) -> list[Value]:
        """Bind a converter's result to variables."""
        if isinstance(result, (list, tuple)):
            return [self._bind(item)[0] for item in result]
        if isinstance(result, relax.Tuple):
            return [self._bind(item)[0] for item in result.fields]
        if isinstance(result, relax.ShapeExpr):
            return [np.array([int(size) for size in result.values], dtype=np.int64)]
        if not isinstance(result, (relax.Var, GenericConst)):
            result = self.builder.emit(result)
        if isinstance(result, GenericConst):
            return [result.value.numpy()]
        if isinstance(result.ty, relax.TupleType):
            fields = range(len(result.ty.fields))
            return [self.builder.emit(relax.TupleGetItem(result, index)) for index in fields]
        return [result]

    @staticmethod
    def _static(operation: Operation, value: Value) -> Value:
        if isinstance(value, relax.Var) and not isinstance(value.ty.shape, relax.ShapeExpr):
            raise operation.error("gives a tensor whose shape depends on data; not supported")
        if isinstance(value, relax.Var) and not all(
            isinstance(size, tvm.tirx.IntImm) for size in value.ty.shape
        ):
            raise operation.error("gives a tensor whose shape depends on data; not supported")
        return value

    def _fold(self, operation: Operation) -> list[np.ndarray] | None:
        node = operation.node
        if node.operator in ("Shape", "Size"):
            shape = operation.shape()
            if node.operator == "Size":
                return [np.array(int(np.prod(shape)), dtype=np.int64)]
            start, end = operation.attribute("start", 0), operation.attribute("end")
            return [np.array(shape[start:end], dtype=np.int64)]
        if not folding.is_foldable(node):
            return None
        arrays: list[np.ndarray | None] = []
        for index, value in enumerate(operation.values):
            known = operation.known(index)
            if value is not None and (known is None or self._is_kept(value, known)):
                return None
            arrays.append(known)
        return folding.evaluate(node, arrays, self.opset)

    def _is_kept(self, value: Value, known: np.ndarray) -> bool:
        """Whether a value is a parameter that must stay one."""
        return isinstance(value, relax.Var) and (
            value.name in self.weights or known.size > FOLDED_ELEMENTS
        )

    def _conditional(self, operation: Operation, values: dict[str, Value]) -> list[Value]:
        attributes = operation.node.attributes
        names = ("then_branch", "else_branch")
        branches = [attributes[n] for n in names if isinstance(attributes.get(n), Graph)]
        if len(branches) < 2:
            raise operation.error("needs the graphs then_branch and else_branch")
        condition = operation.known(0)
        if condition is not None:
            return self.run(branches[0 if condition.all() else 1], values)
        bodies = [self._branch(branch, values) for branch in branches]
        fields = [[(static_shape(f), element_type(f)) for f in fields] for _, fields in bodies]
        if fields[0] != fields[1]:
            raise operation.error(
                "its branches give tensors of different shapes or types for these inputs: "
                f"{fields[0]} and {fields[1]}; fix the condition's input to a constant"
            )
        condition = operation.tensor(0)
        if operation.shape(0) != ():
            condition = self.builder.emit(relax.op.reshape(condition, ()))
        result = self.builder.emit(relax.If(condition, bodies[0][0], bodies[1][0]))
        if len(fields[0]) == 1:
            return [result]
        return [self.builder.emit(relax.TupleGetItem(result, i)) for i in range(len(fields[0]))]

    def _branch(
        self, graph: Graph, values: dict[str, Value]
    ) -> tuple[relax.SeqExpr, list[relax.Expr]]:
        """Make a branch a block of its own, so that only the branch taken is computed."""
        self.builder.begin_scope(None)
        self.builder._begin_binding_block()
        with closing_block(self.builder):
            outputs = [as_expression(value) for value in self.run(graph, values)]
        body = outputs[0] if len(outputs) == 1 else relax.Tuple(outputs)
        body = self.builder.emit(body)
        block = self.builder._end_block()
        self.builder.end_scope()
        return relax.SeqExpr([block], body), outputs


def as_expression(value: Value) -> relax.Expr:
    """Give a value as a Relax expression."""
    return constant(value) if isinstance(value, np.ndarray) else value


@contextlib.contextmanager
def closing_block(builder: relax.BlockBuilder) -> Iterator[None]:
    """End the current block if an error leaves it: TVM warns on the terminal otherwise."""
    try:
        yield
    except BaseException:
        builder._end_block()
        raise
