"""ONNX to Relax: the entry point of the importer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx.inliner
import tvm
from tvm import relax

from dcc.errors import ModelError
from dcc.importer.graph import DEFAULT_DOMAINS, Graph, read_graph
from dcc.importer.model import ImportedModel
from dcc.importer.naming import Names
from dcc.importer.operation import Value, element_type, static_shape
from dcc.importer.refusals import refuse_quantized
from dcc.importer.shapes import input_specs
from dcc.importer.walk import Walk, as_expression, closing_block
from dcc.importer.weights import choose_parameters
from dcc.tensor_spec import TensorSpec


def import_model(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None = None
) -> ImportedModel:
    """Import an ONNX model with its weights as named parameters.

    Parameters
    ----------
    model
        With all tensor data in memory.
    shapes
        ONNX input name -> shape, for inputs with dynamic dimensions.

    Raises
    ------
    ModelError
        If the model is malformed, quantised, of dynamic shape or uses something that is not
        supported.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = read_graph(model.graph)
    refuse_quantized(graph)
    inputs = input_specs(graph.inputs, shapes)
    return _Import(graph, inputs, _default_opset(model)).result()


def _default_opset(model: onnx.ModelProto) -> int:
    for entry in model.opset_import:
        if entry.domain in DEFAULT_DOMAINS:
            return int(entry.version)
    return 1


def _all_graphs(graph: Graph) -> Iterator[Graph]:
    yield graph
    for subgraph in graph.subgraphs():
        yield from _all_graphs(subgraph)


class _Import:
    """State of one import: names, parameters and the values that each graph starts with."""

    def __init__(self, graph: Graph, inputs: list[TensorSpec], opset: int) -> None:
        self._graph, self._inputs, self._opset = graph, inputs, opset
        self._names = Names()
        self._weights: set[str] = set()
        self._onnx_names: dict[str, str] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._values: dict[int, dict[str, Value]] = {}
        self._input_variables = [
            _variable(self._names.fresh(spec.name), spec.shape, spec.dtype) for spec in inputs
        ]
        self._parameters: list[relax.Var] = []
        for each in _all_graphs(graph):
            self._values[id(each)] = self._declare_constants(each)
        names = [spec.name for spec in inputs]
        self._values[id(graph)].update(zip(names, self._input_variables, strict=True))

    def _declare_constants(self, graph: Graph) -> dict[str, Value]:
        choice = choose_parameters(graph)
        values: dict[str, Value] = {}
        for onnx_name, array in graph.constants.items():
            if onnx_name not in choice.weights and onnx_name not in choice.others:
                values[onnx_name] = array
                continue
            name = self._names.fresh(onnx_name)
            self._onnx_names[name] = onnx_name
            self._arrays[name] = array
            if onnx_name in choice.weights:
                self._weights.add(name)
            values[onnx_name] = _variable(name, array.shape, str(array.dtype))
            self._parameters.append(values[onnx_name])
        return values

    def result(self) -> ImportedModel:
        """Walk the graph and keep the parameters that the function reads."""
        module, outputs = self._build()
        used = {var.name for var in relax.analysis.free_vars(module["main"].body)}
        kept = [var for var in self._parameters if var.name in used]
        main = module["main"]
        function = relax.Function(
            [*self._input_variables, *kept], main.body, main.ret_ty, True, main.attrs
        )
        module.update_func(module.get_global_var("main"), function)
        module = relax.transform.ConvertToDataflow(min_size=1)(module)
        return ImportedModel(
            module=relax.transform.DeadCodeElimination()(module),
            weights={var.name: self._arrays[var.name] for var in kept},
            onnx_names={var.name: self._onnx_names[var.name] for var in kept},
            inputs=self._inputs,
            outputs=[
                TensorSpec(name, static_shape(e), element_type(e))
                for name, e in zip(self._graph.outputs, outputs, strict=True)
            ],
        )

    def _build(self) -> tuple[tvm.ir.IRModule, list[relax.Expr]]:
        builder = relax.BlockBuilder()
        walk = Walk(builder, self._opset, self._arrays, frozenset(self._weights), self._values)
        if not self._graph.outputs:
            raise ModelError(f"graph '{self._graph.name}' has no outputs")
        with builder.function("main", [*self._input_variables, *self._parameters]):
            with closing_block(builder):
                outputs = [as_expression(value) for value in walk.run(self._graph, {})]
            result = outputs[0] if len(outputs) == 1 else relax.Tuple(outputs)
            builder.emit_func_output(builder.emit(result))
        return builder.get(), outputs


def _variable(name: str, shape: Sequence[int], dtype: str) -> relax.Var:
    return relax.Var(name, relax.TensorType(list(shape), dtype))
