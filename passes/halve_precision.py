"""Compute coded layers in half precision: their data, codebooks (or values), scales and biases.

    y = dcc.codebook_matmul(x, codes, codebook)
        ->    y = astype(dcc.codebook_matmul(astype(x, "float16"), codes, codebook_half), "float32")

Kernels multiply and sum in single precision whatever they read. Between two such layers there are
no casts: operators that choose or move elements take the half ones, too. The model's inputs and
outputs stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.passes.layer_shapes import dtype_of
from dcc.passes.operators.coded_layers import CodedLayer, coded_layer
from dcc.passes.parameters import MAIN, constant, parameter, with_main
from dcc.passes.weight_table import Array, WeightTable

HALF, SINGLE = "float16", "float32"
LARGEST = float(np.finfo(np.float16).max)
PASSED_THROUGH = (
    "relax.nn.relu",
    "relax.nn.max_pool1d",
    "relax.nn.max_pool2d",
    "relax.reshape",
    "relax.flatten",
    "relax.squeeze",
    "relax.expand_dims",
    "relax.permute_dims",
    "relax.concat",
)
DONE = "reads half precision, sums in single precision"


@tvm.transform.module_pass(opt_level=0, name="dcc.HalvePrecision")
@dataclass(frozen=True)
class HalvePrecision:
    """Halve products and convolutions of single precision; the table says which, and why not."""

    table: WeightTable

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``; it gets parameters for the half weights."""
        halver = _Halver(module, self.table)
        function = relax.analysis.remove_all_unused(halver.visit_expr(module[MAIN]))
        return with_main(module, [*function.params, *halver.weights.values()], function)


@mutator
class _Halver(PyExprMutator):
    def __init__(self, module: tvm.IRModule, table: WeightTable) -> None:
        super().__init__(module)
        self.table = table
        self.weights: dict[str, relax.Var] = {}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        rewritten = super().visit_call_(call)
        layer = coded_layer(rewritten)
        if layer is None:
            return self._passed_through(rewritten)
        name = layer.attributes["layer"]
        refusal = _refusal(layer, self.table)
        self.table.say_of_layer(name, DONE if refusal is None else refusal)
        if refusal is not None:
            return rewritten
        halved = replace(
            layer,
            data=[self._half(part) for part in layer.data],
            weight=[self._weight(part) for part in layer.weight],
            scale=_half_constant(layer.scale),
            bias=_half_constant(layer.bias),
        )
        return relax.op.astype(self.builder_.emit(halved.call()), SINGLE)

    def _passed_through(self, call: relax.Call) -> relax.Expr:
        """Apply an operator to the halves that its operands were made of, where all were."""
        if getattr(call.op, "name", "") not in PASSED_THROUGH:
            return call
        first = call.args[0]
        parts = list(first.fields) if isinstance(first, relax.Tuple) else [first]
        halves = [self._origin(part) for part in parts]
        known = [half for half in halves if half is not None]
        if len(known) != len(halves):
            return call
        operand = relax.Tuple(known) if isinstance(first, relax.Tuple) else known[0]
        arguments = [operand, *list(call.args)[1:]]
        result = self.builder_.emit(relax.Call(call.op, arguments, call.attrs, call.ty_args))
        return relax.op.astype(result, SINGLE)

    def _half(self, value: relax.Expr) -> relax.Expr:
        origin = self._origin(value)
        return self.builder_.emit(relax.op.astype(value, HALF)) if origin is None else origin

    def _origin(self, value: relax.Expr) -> relax.Expr | None:
        """Return the half tensor that ``value`` was cast from; None where it was not."""
        made = self.lookup_binding(value) if isinstance(value, relax.Var) else None
        if not isinstance(made, relax.Call) or getattr(made.op, "name", "") != "relax.astype":
            return None
        source = made.args[0]
        return source if dtype_of(source) == HALF and dtype_of(made) == SINGLE else None

    def _weight(self, part: relax.Var) -> relax.Var:
        """Return the parameter with the half values of a part of a weight; codes stay."""
        array = self.table.arrays[part.name]
        if array.dtype != np.float32:
            return part
        if part.name not in self.weights:
            half = array.astype(np.float16)
            name = self.table.add(f"{part.name}_half", half, part.name)
            self.weights[part.name] = parameter(name, half)
        return self.weights[part.name]


def _refusal(layer: CodedLayer, table: WeightTable) -> str | None:
    """Why a layer stays in single precision; None where it need not."""
    if layer.kind not in ("matmul", "conv1d", "conv2d"):
        return "in single precision: lookups and recurrences have no half form"
    arrays = [table.arrays[part.name] for part in layer.weight]
    if dtype_of(layer.data[0]) != SINGLE or all(a.dtype != np.float32 for a in arrays):
        return f"stays in {dtype_of(layer.data[0])}: only single precision is halved"
    factors = (layer.scale, layer.bias)
    if not all(isinstance(part, GenericConst | None) for part in factors):
        return "in single precision: its scale or bias is no constant"
    arrays += [part.value.numpy() for part in factors if part is not None]
    if any(_too_large(array) for array in arrays if array.dtype == np.float32):
        return f"in single precision: a value is beyond {LARGEST:g}, the largest of half precision"
    return None


def _too_large(array: Array) -> bool:
    finite = array[np.isfinite(array)]
    return bool(np.abs(finite).max(initial=0) > LARGEST)


def _half_constant(part: relax.Expr | None) -> relax.Expr | None:
    return None if part is None else constant(part.value.numpy().astype(np.float16))
