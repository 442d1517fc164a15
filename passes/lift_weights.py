"""Make the constants of ``main`` its parameters, for devices with a memory of their own.

    call_tir(kernel, (x, const stream, const codebook))    ->    call_tir(kernel, (x, w0, w1))

The constants go into the module's weight section; a runtime copies it to the device when the module
is loaded, and passes views of it with every call. A weight that is decoded at load is the result of
the function ``decode``, which takes constants of the same section. Precondition: kernels are
scheduled.
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
        """Rewrite ``main``; add ``decode`` if something is decoded at load."""
        lifter = _Lifter(module, self.section, self.lifted)
        main = relax.analysis.remove_all_unused(lifter.visit_expr(module[MAIN]))
        result = tvm.IRModule(dict(lifter.builder_.get().functions_items()), module.attrs)
        parameters = [*main.params, *lifter.weights, *lifter.decoded.values()]
        result = with_main(result, parameters, main)
        if lifter.decoders:
            result[DECODE] = _decode_function(lifter)
        entries = [MAIN, DECODE] if lifter.decoders else [MAIN]
        return relax.transform.DeadCodeElimination(entries)(result)


@mutator
class _Lifter(PyExprMutator):
    def __init__(self, module: tvm.IRModule, section: WeightSection, lifted: LiftedWeights) -> None:
        super().__init__(module)
        self.module = module
        self.section = section
        self.lifted = lifted
        self.weights: list[relax.Var] = []
        self.numbers: dict[tuple[str, bytes], int] = {}
        self.decoded: dict[relax.Var, relax.Var] = {}
        self.decoders: list[tuple[tvm.ir.GlobalVar, list[int], relax.TensorType]] = []

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        call = binding.value
        if not self._is_kernel(call) or EXPAND not in self.module[call.args[0]].attrs:
            super().visit_var_binding_(binding)
            return
        numbers = [self._number(argument) for argument in call.args[1].fields]
        kind = result_types(call)[0]
        self.decoders.append((call.args[0], numbers, kind))
        variable = relax.Var(f"decoded_{len(self.decoded)}", kind)
        self.decoded[binding.var] = variable
        self.set_var_remap(binding.var, variable)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        if not self._is_kernel(call):
            return super().visit_call_(call)
        arguments = [
            self.weights[self._number(argument)]
            if isinstance(argument, GenericConst)
            else self.visit_expr(argument)
            for argument in call.args[1].fields
        ]
        return relax.call_tir(call.args[0], arguments, result_types(call))

    def _is_kernel(self, expression: relax.Expr) -> bool:
        return getattr(getattr(expression, "op", None), "name", "") == CALL_TIR

    def _number(self, constant: GenericConst) -> int:
        """Return the number of a constant among the weights; equal constants share one."""
        array = np.ascontiguousarray(constant.value.numpy())
        shape, dtype = list(constant.value.shape), str(constant.value.dtype)
        key = (f"{dtype}{shape}", sha256(array.data).digest())
        if key not in self.numbers:
            self.numbers[key] = len(self.weights)
            kind = relax.TensorType([int(size) for size in shape], dtype)
            self.weights.append(relax.Var(f"weight_{len(self.weights)}", kind))
            place = {"offset": self.section.add(array), "shape": [int(n) for n in shape]}
            self.lifted.arrays.append(place | {"dtype": dtype})
        return self.numbers[key]


def _decode_function(lifter: _Lifter) -> relax.Function:
    """``decode(weights)``: run every decoder once; returns the decoded weights."""
    used = sorted({number for _, numbers, _ in lifter.decoders for number in numbers})
    lifter.lifted.decode += used
    kinds = {number: lifter.weights[number].ty for number in used}
    variables = {number: relax.Var(f"weight_{number}", kind) for number, kind in kinds.items()}
    builder = relax.BlockBuilder()
    with builder.function(DECODE, list(variables.values())):
        with builder.dataflow():
            decoded = [
                builder.emit(relax.call_tir(decoder, [variables[n] for n in numbers], kind))
                for decoder, numbers, kind in lifter.decoders
            ]
            result = builder.emit_output(relax.Tuple(decoded))
        builder.emit_func_output(result)
    return builder.get()[DECODE]
