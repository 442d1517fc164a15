"""The coded layers of a model as tasks of the tuner: one layer, its weight, its inputs, its answer.

A task is a module of one layer with its own part of the weight table, so that a candidate is built
by the very passes that build the model.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from dcc.codegen.weight_matrix import WeightMatrix
from dcc.passes.layer_shapes import dtype_of, layer_shape, shape_of, weight_matrix
from dcc.passes.operators.coded_layer_reference import coded_layer_reference
from dcc.passes.operators.coded_layers import CodedLayer, coded_layer
from dcc.passes.parameters import MAIN
from dcc.passes.weight_table import Array, WeightTable
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tuning.layer_key import layer_key


@dataclass
class LayerTask:
    """One kind of layer of a model.

    Attributes
    ----------
    key
        Name in the database.
    layers
        The layers of the model that are of this kind, one entry for each operator.
    layer
        Their first: an operator over ``arrays``, by parameter name.
    """

    key: str
    shape: LayerShape
    weight: WeightMatrix
    layer: CodedLayer
    arrays: dict[str, Array]
    layers: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write what :func:`load_layer` reads."""
        module = tvm.ir.save_json(one_layer_module(self.layer))
        content = (module, self.arrays, self.layers[0])
        path.write_bytes(pickle.dumps(content, protocol=5))

    def example(self, seed: int) -> tuple[list[Array], list[Array]]:
        """Random data, and what the layer answers, in double precision.

        Random indices of a lookup stay inside of its table.
        """
        random = np.random.default_rng(seed)
        data: list[Array] = []
        for part in self.layer.data:
            size, dtype = shape_of(part), dtype_of(part)
            if self.shape.kind == "take":
                data.append(random.integers(0, self.weight.rows, size).astype(dtype))
            else:
                data.append(random.standard_normal(size).astype(dtype))
        epilogue = [
            None if part is None else part.value.numpy()
            for part in (self.layer.scale, self.layer.bias)
        ]
        return data, coded_layer_reference(self.shape, self.weight.decode(), data, *epilogue)


def layer_tasks(module: tvm.IRModule, table: WeightTable) -> list[LayerTask]:
    """Find the coded layers of ``main`` and of the functions beside it; equal ones are one task."""
    tasks: dict[str, LayerTask] = {}

    def visit(expression: relax.Expr) -> None:
        layer = coded_layer(expression)
        if layer is None or not _self_contained(layer):
            return
        shape, weight = layer_shape(layer), weight_matrix(layer, table)
        key = layer_key(shape, weight)
        arrays = {part.name: table.arrays[part.name] for part in layer.weight}
        task = tasks.setdefault(key, LayerTask(key, shape, weight, layer, arrays))
        task.layers.append(str(layer.attributes["layer"]))

    for _, function in module.functions_items():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, visit)
    return list(tasks.values())


def _self_contained(layer: CodedLayer) -> bool:
    """Whether scale and bias are known: they are, but for layers that a hook has made."""
    return all(isinstance(part, GenericConst | None) for part in (layer.scale, layer.bias))


def one_layer_module(layer: CodedLayer) -> tvm.IRModule:
    """Make a module whose ``main`` takes the layer's data and weight, and is the layer."""
    data = [relax.Var(f"data{number}", part.ty) for number, part in enumerate(layer.data)]
    weight = [relax.Var(part.name, part.ty) for part in layer.weight]
    builder = relax.BlockBuilder()
    with builder.function(MAIN, [*data, *weight]):
        with builder.dataflow():
            result = builder.emit(replace(layer, data=data, weight=weight).call())
            result = builder.emit_output(result)
        builder.emit_func_output(result)
    return builder.get()


def load_layer(path: Path) -> tuple[tvm.IRModule, WeightTable]:
    """Read a layer that a task has written: its module and its weight table."""
    text, arrays, name = pickle.loads(path.read_bytes())
    names = dict.fromkeys(arrays, name)
    return tvm.ir.load_json(text), WeightTable(dict(arrays), names)
