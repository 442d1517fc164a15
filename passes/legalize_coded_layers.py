"""Lower each coded layer to the kernel of its storage form, over its packed weight.

    y = dcc.codebook_matmul(x, codes, codebook, form="sparse")
        ->    y = call_tir(fc1_sparse, (x, const bases, const entries, const codebook))

Where a weight of the dense form is worth coding, it is coded in the file and decoded by a call of
``expand``, which ``LinkWeights`` moves to load time.
The huffman form reads its symbols uncoded until ``FoldHuffmanDecode``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import tvm
from tvm import relax
from tvm import tirx as tir
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.codegen.packed import PackedWeight
from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.errors import EncodingError
from dcc.passes.layer_shapes import layer_shape, shape_of, weight_matrix
from dcc.passes.operators.coded_layers import TUNABLES, CodedLayer, coded_layer
from dcc.passes.operators.recurrent import recurrence_types
from dcc.passes.parameters import MAIN, constant, with_main
from dcc.passes.weight_table import WeightTable
from dcc.schedules.cost_model import estimate_all
from dcc.schedules.guarded_rule import SCHEDULE
from dcc.schedules.kernels import build_decoder, build_kernel, in_root_block, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunable_values import with_values
from dcc.schedules.tunables import Tunables, default_tunables
from dcc.schedules.weight_reader import value_dtype
from dcc.targets.target import Target

SCHEDULED = "tirx.is_scheduled"
LAYER = "dcc.layer"
HUFFMAN = "dcc.huffman"
EXPAND = "dcc.expand"
PATTERN, OPAQUE = "op_pattern", 8
# Kernels over two pieces of one weight (the directions of an LSTM) may be equal but for this
# number: without it they would be one function, and FoldHuffmanDecode would fold one stream only.
WEIGHT = "dcc.weight"


@tvm.transform.module_pass(opt_level=0, name="dcc.LegalizeCodedLayers")
@dataclass(frozen=True)
class LegalizeCodedLayers:
    """Replace coded layers by calls of their kernels; packed weights are noted in the table.

    Attributes
    ----------
    at_load
        Whether weights of the dense form may be coded in the file and decoded at load.
    """

    table: WeightTable
    target: Target
    at_load: bool = True

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``; the weight parameters become constants of the calls and disappear."""
        rewriter = _Legalizer(module, self.table, self.target, self.at_load)
        function = rewriter.visit_expr(module[MAIN])
        inputs = [v for v in function.params if v.name not in self.table.arrays]
        return with_main(rewriter.builder_.get(), inputs, function)


@mutator
class _Legalizer(PyExprMutator):
    def __init__(
        self, module: tvm.IRModule, table: WeightTable, target: Target, at_load: bool
    ) -> None:
        super().__init__(module)
        self.table = table
        self.target = target
        self.at_load = at_load
        self.numbers: dict[int, int] = {}  # id of a packed weight, which the table keeps alive

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        rewritten = super().visit_call_(call)
        layer = coded_layer(rewritten)
        if layer is None:
            return rewritten
        shape, weight = layer_shape(layer), weight_matrix(layer, self.table)
        form: Form = layer.attributes["form"] or "dense"
        tunables, packed = self._packed(layer, shape, weight, form)
        kernel = build_kernel(shape, packed, self.target, tunables)
        weights = self._weights(layer, shape, weight, packed)
        return self._call(layer, shape, packed, kernel, weights, rewritten)

    def _packed(
        self, layer: CodedLayer, shape: LayerShape, weight: WeightMatrix, form: Form
    ) -> tuple[Tunables, PackedWeight]:
        """Pack the weight as it was tuned, or for the default schedule."""
        tunables = default_tunables(shape, form, self.target, weight)
        if TUNABLES in layer.attributes:
            tuned = with_values(tunables, json.loads(layer.attributes[TUNABLES]))
            try:
                return tuned, pack_for(weight, form, tuned.packing)
            except EncodingError as error:
                # Records are shared by layers of one shape; another weight may need longer codes.
                name = layer.attributes["layer"]
                self.table.say_of_layer(name, f"built with the default schedule after all: {error}")
        return tunables, pack_for(weight, form, tunables.packing)

    def _weights(
        self, layer: CodedLayer, shape: LayerShape, weight: WeightMatrix, packed: PackedWeight
    ) -> list[relax.Expr]:
        """Packed arrays as constants; of the dense form, the decoded weight if it is coded."""
        name = layer.attributes["layer"]
        if packed.form == "dense" and self.at_load:
            coded = self._smallest(weight, shape)
            if coded is not None:
                # One lane: the decoder writes rows in order, the kernel reads slices of lanes.
                values = packed.arrays["values"]
                return [self._decoded(layer, coded, values.shape, packed.lanes)]
        self.table.note_packed(name, packed)
        return [constant(array) for array in packed.arrays.values()]

    def _decoded(
        self,
        layer: CodedLayer,
        coded: PackedWeight,
        shape: tuple[int, ...],
        lanes: int,
    ) -> relax.Var:
        """Call the decoder of the dense weight."""
        name = layer.attributes["layer"]
        self.table.note_packed(name, coded)
        kernel = build_decoder(coded, shape, lanes, self.target)
        kernel = self._attributed(kernel, name, coded).with_attr(EXPAND, 1)
        variable = self.builder_.add_func(kernel, f"{_identifier(name)}_expand")
        self.table.packed[variable.name_hint] = coded
        arguments = [constant(array) for array in coded.arrays.values()]
        dtype = value_dtype(coded)
        decoded = relax.call_tir(variable, arguments, relax.TensorType(shape, dtype))
        return self.builder_.emit(decoded, f"{_identifier(name)}_decoded")

    def _smallest(self, weight: WeightMatrix, shape: LayerShape) -> PackedWeight | None:
        """Pack the smallest coded form, for the file; None where the values are smaller."""
        estimates = estimate_all(weight, shape, self.target)
        coded = (e for form, e in estimates.items() if form != "dense")
        best = min(coded, key=lambda e: e.kept_bytes)
        if best.kept_bytes >= estimates["dense"].touched_bytes:
            return None
        sort = shape.kind not in ("take", "gru")
        return pack_for(weight, best.form, Packing(self.target.vector_floats, sort=sort))

    def _attributed(self, kernel: tir.PrimFunc, name: str, packed: PackedWeight) -> tir.PrimFunc:
        schedule = str(kernel.attrs["global_symbol"])
        kernel = in_root_block(kernel).without_attr("global_symbol")
        kernel = kernel.with_attr(SCHEDULE, schedule)
        kernel = kernel.with_attr(SCHEDULED, 1).with_attr(LAYER, name)
        number = self.numbers.setdefault(id(packed), len(self.numbers))
        kernel = kernel.with_attr(PATTERN, OPAQUE).with_attr(WEIGHT, number)
        return kernel.with_attr(HUFFMAN, 1) if packed.form == "huffman" else kernel

    def _call(
        self,
        layer: CodedLayer,
        shape: LayerShape,
        packed: PackedWeight,
        kernel: tir.PrimFunc,
        weights: list[relax.Expr],
        call: relax.Call,
    ) -> relax.Expr:
        name = layer.attributes["layer"]
        kernel = self._attributed(kernel, name, packed)
        variable = self.builder_.add_func(kernel, f"{_identifier(name)}_{shape.kind}_{packed.form}")
        self.table.packed[variable.name_hint] = packed
        data, out = self._flattened(layer, shape, packed)
        epilogue = [part for part in (layer.scale, layer.bias) if part is not None]
        result = relax.call_tir(variable, [*data, *weights, *epilogue], out)
        if shape.kind not in ("matmul", "take"):
            return result
        return reshaped(self.builder_.emit(result), shape_of(call))

    def _flattened(
        self, layer: CodedLayer, shape: LayerShape, packed: PackedWeight
    ) -> tuple[list[relax.Expr], list[relax.TensorType] | relax.TensorType]:
        """Shape the kernel's data arguments, and give the types of its results."""
        if shape.kind == "matmul":
            x = reshaped(layer.data[0], [shape.samples, packed.columns])
            return [self.builder_.emit(x)], relax.TensorType(
                [shape.samples, packed.rows], shape.dtype
            )
        if layer.kind == "take":
            indices = reshaped(layer.data[0], [shape.samples])
            return [self.builder_.emit(indices)], relax.TensorType(
                [shape.samples, packed.columns], shape.dtype
            )
        if shape.recurrence is not None:
            sizes = shape.recurrence
            states = 2 if layer.kind == "lstm" else 1
            return layer.data, recurrence_types((sizes.steps, sizes.batch, sizes.hidden), states)
        assert shape.geometry is not None
        g = shape.geometry
        spatial = [g.out_width] if layer.kind == "conv1d" else [g.out_height, g.out_width]
        return layer.data, relax.TensorType([g.batch, g.outputs, *spatial], shape.dtype)


def kernel_layers(module: tvm.IRModule) -> dict[str, str]:
    """Name the layer (ONNX name of its weight) of each kernel of a module that computes one."""
    return {
        variable.name_hint: str(function.attrs[LAYER])
        for variable, function in module.functions_items()
        if isinstance(function, tir.PrimFunc) and LAYER in function.attrs
    }


def reshaped(value: relax.Expr, shape: list[int]) -> relax.Expr:
    """Reshape ``value``, which has a type; itself where it has that shape, to spare a copy."""
    same = [int(size) for size in value.ty.shape] == shape
    return value if same else relax.op.reshape(value, shape)


def _identifier(name: str) -> str:
    """Make a name for a function from any ONNX name."""
    return re.sub(r"\W", "_", f"layer_{name}")
