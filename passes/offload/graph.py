"""The graph of ``main`` as a list of bindings, for passes that look at more than one operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax

from dcc.passes.parameters import MAIN


@dataclass
class Graph:
    """Bindings of a ``main`` that is one straight sequence.

    Attributes
    ----------
    values
        Variable -> what it is bound to, in order.
    readers
        Variable -> variables whose bindings read it; the result of ``main`` counts as None.
    result
        Variable that ``main`` returns.
    """

    function: relax.Function
    values: dict[relax.Var, relax.Expr] = field(default_factory=dict)
    readers: dict[relax.Var, list[relax.Var | None]] = field(default_factory=dict)

    @property
    def result(self) -> relax.Expr:
        """What ``main`` returns."""
        return self.function.body.body

    def only_reader(self, variable: relax.Var) -> relax.Var | None:
        """Return the one binding that reads a variable; None where there are others."""
        readers = self.readers.get(variable, [])
        return readers[0] if len(readers) == 1 else None


def read_graph(module: tvm.IRModule) -> Graph | None:
    """Read ``main``; None where it has branches."""
    function = module[MAIN]
    graph = Graph(function)
    for block in function.body.blocks:
        for binding in block.bindings:
            if not isinstance(binding, relax.VarBinding) or isinstance(binding.value, relax.If):
                return None
            graph.values[binding.var] = binding.value
            for operand in operands(binding.value):
                graph.readers.setdefault(operand, []).append(binding.var)
    for operand in operands(graph.result):
        graph.readers.setdefault(operand, []).append(None)
    return graph


def operands(expression: relax.Expr) -> list[relax.Var]:
    """Variables that an expression reads, each as often as it does."""
    if isinstance(expression, relax.Var):
        return [expression]
    if isinstance(expression, relax.Call):
        return [v for argument in expression.args for v in operands(argument)]
    if isinstance(expression, relax.Tuple):
        return [v for part in expression.fields for v in operands(part)]
    if isinstance(expression, relax.TupleGetItem):
        return operands(expression.tuple_value)
    return []


def substituted(expression: relax.Expr, values: Mapping[relax.Var, relax.Expr]) -> relax.Expr:
    """Copy an expression with other variables."""
    if isinstance(expression, relax.Var):
        return values.get(expression, expression)
    if isinstance(expression, relax.Call):
        arguments = [substituted(argument, values) for argument in expression.args]
        return relax.Call(expression.op, arguments, expression.attrs, expression.ty_args)
    if isinstance(expression, relax.Tuple):
        return relax.Tuple([substituted(part, values) for part in expression.fields])
    if isinstance(expression, relax.TupleGetItem):
        return relax.TupleGetItem(substituted(expression.tuple_value, values), expression.index)
    return expression


def name_of(expression: Any) -> str:
    """Name of the operator that a call calls."""
    return str(getattr(getattr(expression, "op", None), "name", ""))


def observing(module: tvm.IRModule, graph: Graph, variables: list[relax.Var]) -> tvm.IRModule:
    """Copy a module so that ``main`` returns ``variables`` instead of its result."""
    builder = relax.BlockBuilder()
    fresh = {v: relax.Var(v.name, v.ty) for v in graph.function.params}
    values: dict[relax.Var, relax.Expr] = dict(fresh)
    with builder.function(MAIN, list(fresh.values())):
        with builder.dataflow():
            for variable, value in graph.values.items():
                values[variable] = builder.emit(substituted(value, values))
            outputs = [builder.emit_output(values[variable]) for variable in variables]
        builder.emit_func_output(relax.Tuple(outputs))
    result = tvm.IRModule(dict(module.functions_items()), module.attrs)
    result.update_func(result.get_global_var(MAIN), builder.get()[MAIN])
    return result
