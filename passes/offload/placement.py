"""Which layers of a graph go to the accelerator, and what they take with them.

    conv2d -> add(., y) -> relu      one operation, with ``y`` as its residual
    reshape -> matmul                one operation: a convolution whose window is the whole image
    max_pool2d, add, concat          follow where their operands are on the accelerator already

Everything else stays on the host, and the weights' table says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tvm import relax

from dcc.passes.layer_shapes import dtype_of, shape_of
from dcc.passes.offload.conv_layers import conv_layer
from dcc.passes.offload.graph import Graph, name_of, operands
from dcc.passes.operators.coded_layers import CodedLayer, coded_layer
from dcc.passes.weight_table import WeightTable
from dcc.schedules.vta.layers import ConvLayer, PoolLayer, Residual
from dcc.schedules.vta.pool import pool_tiling
from dcc.schedules.vta.tiling import candidates
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.isa import BLOCK

Kind = Literal["conv", "pool", "sum", "concat"]


@dataclass
class Placed:
    """An operation of the accelerator.

    Attributes
    ----------
    result
        Variable whose value it computes.
    inputs
        Variables that it reads.
    replaced
        Variables between, which are not computed any more.
    layer
        Shape; None for sums and concatenations.
    coded
        The coded layer, of a convolution.
    bounds
        Clipping of the result, in real numbers.
    """

    kind: Kind
    result: relax.Var
    inputs: list[relax.Var]
    replaced: list[relax.Var] = field(default_factory=list)
    layer: ConvLayer | PoolLayer | None = None
    coded: CodedLayer | None = None
    bounds: tuple[float | None, float | None] = (None, None)

    @property
    def rows(self) -> bool:
        """Whether the last axis of the result holds the channels."""
        return self.coded is not None and self.coded.kind == "matmul"

    @property
    def input_rows(self) -> bool:
        """Whether the last axis of the input holds the channels."""
        return self.rows and self.coded is not None and self.inputs[0] == self.coded.data[0]


def place_layers(graph: Graph, table: WeightTable, device: Accelerator) -> list[Placed]:
    """Choose the operations, in the order of the graph."""
    return _Placement(graph, table, device).run()


@dataclass
class _Placement:
    graph: Graph
    table: WeightTable
    device: Accelerator
    placed: dict[relax.Var, Placed] = field(default_factory=dict)

    def run(self) -> list[Placed]:
        for variable, value in self.graph.values.items():
            found = self._operation(variable, value)
            if found is not None:
                self.placed[found.result] = found
        order = {variable: number for number, variable in enumerate(self.graph.values)}
        return sorted(self.placed.values(), key=lambda each: order[each.result])

    def _operation(self, variable: relax.Var, value: relax.Expr) -> Placed | None:
        layer = coded_layer(value)
        if layer is not None:
            return self._convolution(variable, layer)
        name = name_of(value)
        if name == "relax.nn.max_pool2d":
            return self._pool(variable, value)
        if name == "relax.add":
            return self._sum(variable, value)
        if name in ("relax.nn.relu", "relax.clip"):
            return self._clipped(variable, value)
        if name == "relax.concat":
            return self._concat(variable, value)
        return None

    def _convolution(self, variable: relax.Var, layer: CodedLayer) -> Placed | None:
        found = conv_layer(layer, self.graph, self.device.limits)
        if isinstance(found, str):
            self.table.say_of_layer(layer.attributes["layer"], f"stays on the host: {found}")
            return None
        shape, data, replaced = found
        if next(candidates(shape, self.device), None) is None:
            reason = "stays on the host: no tile of it fits the accelerator's scratchpads"
            self.table.say_of_layer(layer.attributes["layer"], reason)
            return None
        bounds = (layer.attributes.get("minimum"), layer.attributes.get("maximum"))
        return Placed("conv", variable, [data], replaced, shape, layer, bounds)

    def _pool(self, variable: relax.Var, value: relax.Call) -> Placed | None:
        source = value.args[0]
        if source not in self.placed or len(shape_of(source)) != 4 or dtype_of(value) != "float32":
            return None
        batch, channels, height, width = shape_of(source)
        attributes = value.attrs
        top, left, bottom, right = (int(pad) for pad in attributes.padding)
        layer = PoolLayer(
            batch,
            channels,
            height,
            width,
            _pair(attributes.pool_size),
            _pair(attributes.strides),
            (top, left, bottom, right),
            _pair(attributes.dilation),
        )
        same = [layer.out_height, layer.out_width] == shape_of(variable)[2:]
        if not same or pool_tiling(layer, self.device) is None:
            return None
        return Placed("pool", variable, [source], layer=layer)

    def _sum(self, variable: relax.Var, value: relax.Call) -> Placed | None:
        first, second = value.args
        if not all(isinstance(each, relax.Var) for each in (first, second)) or first is second:
            return None
        shapes = [shape_of(each) for each in (first, second, variable)]
        if shapes[0] != shapes[1] or len(shapes[0]) != 4 or dtype_of(variable) != "float32":
            return None
        if self.graph.only_reader(first) is None or not self._takes_residual(first):
            first, second = second, first
        if self._takes_residual(first):
            return self._with_residual(variable, first, second)
        if first in self.placed and second in self.placed:
            return Placed("sum", variable, [first, second])
        return None

    def _takes_residual(self, variable: relax.Var) -> bool:
        """Whether a value is a convolution that nothing else reads and nothing has clipped."""
        placed = self.placed.get(variable)
        return (
            placed is not None
            and placed.kind == "conv"
            and len(placed.inputs) == 1
            and not placed.rows
            and placed.bounds == (None, None)
            and self.graph.only_reader(variable) is not None
        )

    def _with_residual(
        self, variable: relax.Var, convolution: relax.Var, other: relax.Var
    ) -> Placed | None:
        placed = self.placed[convolution]
        assert isinstance(placed.layer, ConvLayer)

        layer = replace(placed.layer, residual=Residual(0, 0))
        if next(candidates(layer, self.device), None) is None:
            return None
        del self.placed[convolution]
        return replace(
            placed,
            result=variable,
            inputs=[*placed.inputs, other],
            replaced=[*placed.replaced, convolution],
            layer=layer,
        )

    def _clipped(self, variable: relax.Var, value: relax.Call) -> Placed | None:
        """Take clipping along with the sum before it."""
        source = value.args[0]
        placed = self.placed.get(source)
        fits = placed is not None and (placed.kind == "sum" or len(placed.inputs) == 2)
        if not fits or placed is None or self.graph.only_reader(source) is None:
            return None
        bounds: tuple[float | None, float | None] = (0.0, None)
        if name_of(value) == "relax.clip":
            bounds = (_number(value.args[1]), _number(value.args[2]))
        if placed.bounds != (None, None):
            return None
        del self.placed[source]
        return replace(placed, result=variable, replaced=[*placed.replaced, source], bounds=bounds)

    def _concat(self, variable: relax.Var, value: relax.Call) -> Placed | None:
        """Concatenate channels of packed tensors: whole blocks need no unpacking."""
        sources = operands(value)
        axis = value.attrs.axis
        shape = shape_of(variable)
        if axis is None or int(axis) % len(shape) != 1 or len(shape) != 4:
            return None
        if len(set(sources)) != len(sources) or any(each not in self.placed for each in sources):
            return None
        if any(shape_of(each)[1] % BLOCK for each in sources[:-1]):
            return None
        return Placed("concat", variable, sources)


def _pair(values: Any) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second


def _number(expression: Any) -> float:
    return float(getattr(expression, "value", expression))
