"""Make the constants of ``main`` its parameters, for devices with a memory of their own.

    call_tir(kernel, (x, const stream, const codebook))    ->    call_tir(kernel, (x, w0, w1))

The constants go into the module's weight section; a runtime copies it to the device when the module
is loaded, and passes views of it with every call. A weight that is decoded at load is the result of
the function ``decode``, which takes constants of the same section. Functions that ``main`` calls
(branches) get what they use from it. Precondition: kernels are scheduled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.codegen.section import WeightSection
from dcc.passes.fold_huffman_decode import CALL_TIR
from dcc.passes.legalize_coded_layers import EXPAND
from dcc.passes.link_weights import DECODE
from dcc.passes.parameters import MAIN, result_types, with_main


@dataclass
class LiftedWeights:
    """What a runtime passes to ``main`` behind the inputs: arrays, then the results of ``decode``.

    Attributes
    ----------
    arrays
        Offset in the section, shape and dtype of each.
    decode
        Numbers of the arrays that ``decode`` takes.
    """

    arrays: list[dict[str, Any]] = field(default_factory=list)
    decode: list[int] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """Describe them as a module's metadata does."""
        return {"arrays": self.arrays, "decode": self.decode}


@tvm.transform.module_pass(opt_level=0, name="dcc.LiftWeights")
@dataclass(frozen=True)
class LiftWeights:
    """Give the constants of calls in ``main`` their places in ``section``, noted in ``lifted``."""

    section: WeightSection
    lifted: LiftedWeights

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite the graph functions; add ``decode`` if something is decoded at load."""
        lifter = _Lifter(module, self.section, self.lifted)
        main = lifter.lift(MAIN)
        result = tvm.IRModule(dict(lifter.builder_.get().functions_items()), module.attrs)
        every = [*lifter.arrays, *lifter.decoded]
        parameters = [*main.params, *(lifter.scope.variable(weight) for weight in every)]
        result = with_main(result, parameters, main)
        if lifter.decoders:
            result[DECODE] = _decode_function(lifter)
        entries = [MAIN, DECODE] if lifter.decoders else [MAIN]
        return relax.transform.DeadCodeElimination(entries)(result)


@dataclass(frozen=True)
class _Weight:
    """An array of the section, or a result of ``decode``."""

    name: str
    kind: relax.TensorType


@dataclass
class _Scope:
    """The weights that one function uses, as its parameters."""

    variables: dict[str, relax.Var] = field(default_factory=dict)
    weights: list[_Weight] = field(default_factory=list)

    def variable(self, weight: _Weight) -> relax.Var:
        """Return the parameter that holds ``weight``."""
        if weight.name not in self.variables:
            self.variables[weight.name] = relax.Var(weight.name, weight.kind)
            self.weights.append(weight)
        return self.variables[weight.name]


@mutator
class _Lifter(PyExprMutator):
    def __init__(self, module: tvm.IRModule, section: WeightSection, lifted: LiftedWeights) -> None:
        super().__init__(module)
        self.module = module
        self.section = section
        self.lifted = lifted
        self.scope = _Scope()
        self.arrays: list[_Weight] = []
        self.numbers: dict[tuple[str, bytes], int] = {}
        self.decoded: list[_Weight] = []
        self.decoders: list[tuple[tvm.ir.GlobalVar, list[int]]] = []
        self.functions: dict[str, tuple[tvm.ir.GlobalVar, list[_Weight]]] = {}

    def lift(self, name: str) -> relax.Function:
        """Lift the weights of a function; its ``scope`` has their parameters."""
        for callee in _callees(self.module[name]):
            if callee.name_hint not in self.functions:
                function = self.lift(callee.name_hint)
                parameters = [*function.params, *self.scope.variables.values()]
                function = relax.Function(
                    parameters, function.body, function.ret_ty, function.is_pure, function.attrs
                )
                variable = self.builder_.add_func(function, f"{callee.name_hint}_of_weights")
                self.functions[callee.name_hint] = variable, self.scope.weights
        self.scope = _Scope()
        return relax.analysis.remove_all_unused(self.visit_expr(self.module[name]))

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        call = binding.value
        if not self._is_kernel(call) or EXPAND not in self.module[call.args[0]].attrs:
            super().visit_var_binding_(binding)
            return
        numbers = [self._number(argument) for argument in call.args[1].fields]
        weight = _Weight(f"decoded_{len(self.decoded)}", result_types(call)[0])
        self.decoders.append((call.args[0], numbers))
        self.decoded.append(weight)
        self.set_var_remap(binding.var, self.scope.variable(weight))

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        if isinstance(call.op, tvm.ir.GlobalVar) and call.op.name_hint in self.functions:
            variable, weights = self.functions[call.op.name_hint]
            given = [self.visit_expr(argument) for argument in call.args]
            return relax.Call(variable, [*given, *(self.scope.variable(w) for w in weights)])
        if not self._is_kernel(call):
            return super().visit_call_(call)
        arguments = [
            self.scope.variable(self.arrays[self._number(argument)])
            if isinstance(argument, GenericConst)
            else self.visit_expr(argument)
            for argument in call.args[1].fields
        ]
        return relax.call_tir(call.args[0], arguments, result_types(call))

    def _is_kernel(self, expression: relax.Expr) -> bool:
        return getattr(getattr(expression, "op", None), "name", "") == CALL_TIR

    def _number(self, constant: GenericConst) -> int:
        """Return the number of a constant among the arrays; equal constants share one."""
        array = np.ascontiguousarray(constant.value.numpy())
        shape, dtype = list(constant.value.shape), str(constant.value.dtype)
        key = (f"{dtype}{shape}", sha256(array.data).digest())
        if key not in self.numbers:
            self.numbers[key] = len(self.arrays)
            kind = relax.TensorType([int(size) for size in shape], dtype)
            self.arrays.append(_Weight(f"weight_{len(self.arrays)}", kind))
            place = {"offset": self.section.add(array), "shape": [int(n) for n in shape]}
            self.lifted.arrays.append(place | {"dtype": dtype})
        return self.numbers[key]


def _callees(function: relax.Function) -> list[tvm.ir.GlobalVar]:
    """List the graph functions that ``function`` calls."""
    found: list[tvm.ir.GlobalVar] = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call) and isinstance(expression.op, tvm.ir.GlobalVar):
            found.append(expression.op)

    relax.analysis.post_order_visit(function, visit)
    return found


def _decode_function(lifter: _Lifter) -> relax.Function:
    """``decode(weights)``: run every decoder once; returns the decoded weights."""
    used = sorted({number for _, numbers in lifter.decoders for number in numbers})
    lifter.lifted.decode += used
    scope = _Scope()
    variables = {number: scope.variable(lifter.arrays[number]) for number in used}
    builder = relax.BlockBuilder()
    with builder.function(DECODE, list(variables.values())):
        with builder.dataflow():
            results = [
                builder.emit(relax.call_tir(decoder, [variables[n] for n in numbers], weight.kind))
                for (decoder, numbers), weight in zip(lifter.decoders, lifter.decoded, strict=True)
            ]
            result = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(result)
    return builder.get()[DECODE]
