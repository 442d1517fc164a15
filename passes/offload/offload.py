"""Move layers to the accelerator that a target has.

    y = dcc.raw_conv2d(x, w); z = relu(y)
        ->    p = call_dps_packed("dcc.accelerator.quantize", (exponent, rows, x))
              q = call_dps_packed("dcc.accelerator.run", (number, p))
              z = call_dps_packed("dcc.accelerator.dequantize", (exponent, rows, q))

Tensors between two operations of the accelerator stay packed int8. Scales are powers of two, from
values that the float model has for the calibration inputs. The operations themselves stand in the
weights' table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

from dcc.codegen.vta.blocks import block_weights
from dcc.codegen.vta.buffers import DEQUANTIZE, QUANTIZE, RUN
from dcc.codegen.vta.program import Operation
from dcc.errors import CompileError
from dcc.passes.layer_shapes import shape_of
from dcc.passes.offload.exponents import best_exponent, shared_exponents
from dcc.passes.offload.graph import Graph, observing, operands, read_graph, substituted
from dcc.passes.offload.placement import Placed, place_layers
from dcc.passes.offload.quantized_layers import quantized_convolution, quantized_sum
from dcc.passes.offload.storage import choose_form, note_layer
from dcc.passes.parameters import MAIN, with_main
from dcc.passes.weight_table import WeightTable
from dcc.schedules.vta.layers import ConvLayer, PoolLayer
from dcc.schedules.vta.operations import (
    ConvWeights,
    blocks_kept,
    conv_operation,
    pool_operation,
    sum_operation,
)
from dcc.schedules.vta.tiling import Tiling, candidates
from dcc.targets.target import Target
from dcc.targets.vta.isa import BLOCK

Observe = Callable[[tvm.IRModule], list[list[npt.NDArray[np.floating]]]]
"""Module -> for each calibration input, the tensors that its ``main`` returns."""
LookUpTiling = Callable[[ConvLayer, float], Tiling | None]
"""Layer and share of its blocks that are stored -> tile sizes; None for the default."""


@tvm.transform.module_pass(opt_level=0, name="dcc.OffloadToAccelerator")
@dataclass(frozen=True)
class OffloadToAccelerator:
    """Replace layers by calls of the accelerator; operations go to ``table.operations``.

    ``storage`` is "auto" or a storage form of the accelerator; ``tuned`` knows better tile sizes.
    """

    table: WeightTable
    target: Target
    observe: Observe
    storage: str = "auto"
    objective: str = "latency"
    tuned: LookUpTiling | None = None

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``; modules with branches are left as they are."""
        assert self.target.accelerator is not None
        graph = read_graph(module)
        if graph is None:
            for parameter in self.table.onnx_names:
                self.table.say(parameter, "stays on the host: the model has branches")
            return module
        placed = place_layers(graph, self.table, self.target.accelerator)
        if not any(each.kind == "conv" for each in placed):
            return module
        exponents = self._exponents(module, graph, placed)
        rewriter = _Rewriter(self, graph, {each.result: each for each in placed}, exponents)
        return rewriter.run(module)

    def _exponents(
        self, module: tvm.IRModule, graph: Graph, placed: list[Placed]
    ) -> dict[relax.Var, int]:
        wanted = list(dict.fromkeys(v for each in placed for v in (*each.inputs, each.result)))
        inner = [variable for variable in wanted if variable in graph.values]
        outer = [variable for variable in wanted if variable not in graph.values]
        samples = self.observe(observing(module, graph, [*inner, *outer]))
        values = [
            np.concatenate([s.reshape(-1) for s in each]) for each in zip(*samples, strict=True)
        ]
        found = {
            variable: best_exponent(each)
            for variable, each in zip([*inner, *outer], values, strict=True)
        }
        same = [[each.result, *each.inputs] for each in placed if each.kind in ("pool", "concat")]
        return shared_exponents(found, same)


@dataclass
class _Packed:
    """A packed tensor: its variable and whether its channels were the last axis."""

    variable: relax.Expr
    rows: bool


@dataclass
class _Rewriter:
    options: OffloadToAccelerator
    graph: Graph
    placed: dict[relax.Var, Placed]
    exponents: Mapping[relax.Var, int]
    builder: relax.BlockBuilder = field(default_factory=relax.BlockBuilder)
    values: dict[relax.Var, relax.Expr] = field(default_factory=dict)
    packed: dict[relax.Var, _Packed] = field(default_factory=dict)

    def run(self, module: tvm.IRModule) -> tvm.IRModule:
        self._decline()
        skipped = {v for each in self.placed.values() for v in each.replaced}
        parameters = [relax.Var(v.name, v.ty) for v in self.graph.function.params]
        self.values.update(zip(self.graph.function.params, parameters, strict=True))
        with self.builder.function(MAIN, parameters):
            with self.builder.dataflow():
                for variable, value in self.graph.values.items():
                    if variable in self.placed:
                        self._emit_operation(self.placed[variable])
                    elif variable not in skipped:
                        for operand in operands(value):
                            self._float(operand)
                        self.values[variable] = self.builder.emit(substituted(value, self.values))
                for operand in operands(self.graph.result):
                    self._float(operand)
                result = self.builder.emit_output(substituted(self.graph.result, self.values))
            self.builder.emit_func_output(result)
        function = relax.analysis.remove_all_unused(self.builder.get()[MAIN])
        read = {variable.name for variable in relax.analysis.free_vars(function.body)}
        arrays = self.options.table.arrays
        kept = [v for v in function.params if v.name not in arrays or v.name in read]
        return with_main(module, kept, function)

    def _decline(self) -> None:
        """Leave on the host what the chosen scales rule out, before anything is emitted."""
        self.operations = {}
        for variable, placed in list(self.placed.items()):
            if placed.kind == "concat":
                gone = [each for each in placed.inputs if each not in self.placed]
                reason: str | Operation | None = "its operands are on the host" if gone else None
            else:
                reason = self._operation(placed)
            if isinstance(reason, Operation):
                self.operations[variable] = reason
            elif reason is not None:
                del self.placed[variable]
                if placed.coded is not None:
                    name = placed.coded.attributes["layer"]
                    self.options.table.say_of_layer(name, f"stays on the host: {reason}")

    def _operation(self, placed: Placed) -> Operation | str:
        device = self.options.target.accelerator
        assert device is not None
        largest = max(_packed_bytes(each, placed) for each in (*placed.inputs, placed.result))
        if largest > device.limits.allocation:
            return f"a tensor of {largest:,} bytes exceeds one allocation of the accelerator"
        exponents = [self.exponents[variable] for variable in placed.inputs]
        result = self.exponents[placed.result]
        if placed.kind == "pool":
            assert isinstance(placed.layer, PoolLayer)
            return pool_operation(placed.result.name, placed.layer, device)
        if placed.kind == "sum":
            batch, channels, height, width = shape_of(placed.result)
            shape = (batch, -(-channels // BLOCK), height, width, BLOCK)
            layer = quantized_sum(placed, math.prod(shape[:-1]), exponents, result)
            if isinstance(layer, str):
                return layer
            return sum_operation(placed.result.name, layer, shape, device)
        found = quantized_convolution(
            placed,
            self.options.table,
            exponents[0],
            result,
            exponents[1] if len(exponents) > 1 else None,
        )
        if isinstance(found, str):
            return found
        assert placed.coded is not None
        name = placed.coded.attributes["layer"]
        convolution, weights = found
        if convolution.bias_blocks and next(candidates(convolution, device), None) is None:
            # As blocks of weights the bias leaves no room for a tile: it is added by the ALU.
            convolution = replace(convolution, bias_blocks=False)
        form, reason = choose_form(weights, self.options.storage, self.options.objective)
        tiling = self._tuned(convolution, weights, form)
        if tiling is not None and not tiling.fits(convolution, device):
            tiling = None  # measured for a layer whose bias stands elsewhere
        try:
            operation = conv_operation(name, convolution, weights, form, device, tiling)
        except CompileError as error:
            form, reason = "dense", f"left dense: {error}"
            operation = conv_operation(name, convolution, weights, form, device, tiling)
        note_layer(self.options.table, name, operation, weights, reason)
        return operation

    def _tuned(self, layer: ConvLayer, weights: ConvWeights, form: str) -> Tiling | None:
        """Ask the tuning records; the chunks of coded weights have tiles of their own."""
        if self.options.tuned is None or form in ("codebook", "huffman"):
            return None
        kept = blocks_kept(block_weights(weights.levels.decode()))
        return self.options.tuned(layer, 1.0 if form == "dense" else float(kept.mean()))

    def _emit_operation(self, placed: Placed) -> None:
        if placed.kind == "concat":
            parts = [self._packed(each, False).variable for each in placed.inputs]
            joined = self.builder.emit(relax.op.concat(parts, 1))
            self.packed[placed.result] = _Packed(joined, False)
            return
        operation = self.operations[placed.result]
        operation_list = self.options.table.operations
        number = len(operation_list)
        operation_list.append(operation)
        rows = [placed.input_rows, *[False] * (len(placed.inputs) - 1)]
        inputs = [
            self._packed(each, row).variable for each, row in zip(placed.inputs, rows, strict=True)
        ]
        out = relax.TensorType(list(operation.output_shape), "int8")
        call = relax.call_dps_packed(RUN, [_number(number), *inputs], out)
        self.packed[placed.result] = _Packed(self.builder.emit(call), placed.rows)

    def _packed(self, variable: relax.Var, rows: bool) -> _Packed:
        """Give a tensor as the accelerator takes it: packed by an operation, or quantised here."""
        found = self.packed.get(variable)
        if found is not None and found.rows == rows:
            return found
        value, shape = self._float(variable), shape_of(variable)
        out = relax.TensorType(_packed_shape(shape, rows), "int8")
        facts = [_number(self.exponents[variable]), _number(int(rows)), value]
        packed = _Packed(self.builder.emit(relax.call_dps_packed(QUANTIZE, facts, out)), rows)
        if found is None:
            self.packed[variable] = packed
        return packed

    def _float(self, variable: relax.Var) -> relax.Expr:
        """Give a tensor as the host takes it."""
        if variable not in self.values:
            packed = self.packed[variable]
            facts = [_number(self.exponents[variable]), _number(int(packed.rows)), packed.variable]
            out = relax.TensorType(shape_of(variable), "float32")
            self.values[variable] = self.builder.emit(relax.call_dps_packed(DEQUANTIZE, facts, out))
        return self.values[variable]


def _number(value: int) -> relax.Expr:
    return tvm.tirx.IntImm("int64", value)


def _packed_bytes(variable: relax.Var, placed: Placed) -> int:
    """Bytes of a tensor as the accelerator takes it."""
    shape = shape_of(variable)
    return math.prod(_packed_shape(shape, placed.rows or len(shape) < 3))


def _packed_shape(shape: list[int], rows: bool) -> list[int]:
    if rows:
        return [1, -(-shape[-1] // BLOCK), 1, math.prod(shape[:-1]), BLOCK]
    batch, channels, *image = shape
    height, width = image if len(image) == 2 else (1, image[0])
    return [batch, -(-channels // BLOCK), height, width, BLOCK]
