"""Rewriting the weight parameters of ``main``: the mechanics that several passes share."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

Array = npt.NDArray[np.generic]
MAIN = "main"

# What stands in a parameter's place: its successors among the parameters (it may be one of them
# itself), and the expression of them that is read instead.
Replacement: TypeAlias = "tuple[list[relax.Var], Callable[[], relax.Expr]]"


def parameter(name: str, array: Array) -> relax.Var:
    """Make a Relax variable for ``array``."""
    return relax.Var(name, relax.TensorType(array.shape, array.dtype.name))


def constant(array: Array) -> relax.Expr:
    """Make a constant of the array's own type: ``relax.const`` alone makes a float64 a float32."""
    return relax.const(array, array.dtype.name)


def weight_parameters(module: tvm.IRModule, names: Container[str]) -> list[relax.Var]:
    """Return the parameters of ``main`` that ``names`` holds, in order."""
    return [variable for variable in module[MAIN].params if variable.name in names]


def replace_parameters(
    module: tvm.IRModule, replacements: Mapping[str, Replacement]
) -> tvm.IRModule:
    """Put other parameters in the place of some, and an expression where the old one was read.

    Parameters
    ----------
    module
        Its ``main`` is rewritten in a copy.
    replacements
        Name of a parameter -> what stands in its place.
    """
    if not replacements or not any(block.bindings for block in module[MAIN].body.blocks):
        return module
    return _Replacer(module, replacements).transform()


@mutator
class _Replacer(PyExprMutator):
    """Emits the expressions ahead of the first binding and redirects every use."""

    def __init__(self, module: tvm.IRModule, replacements: Mapping[str, Replacement]) -> None:
        super().__init__(module)
        self.module = module
        self.replacements = replacements
        self.old = {v.name: v for v in module[MAIN].params if v.name in replacements}
        self.started = False
        self.several_blocks = len(module[MAIN].body.blocks) > 1

    def transform(self) -> tvm.IRModule:
        rewritten = self.visit_expr(self.module[MAIN])
        parameters: list[relax.Var] = []
        for variable in rewritten.params:
            successors, _ = self.replacements.get(variable.name, ([variable], None))
            parameters += successors
        return with_main(self.module, parameters, rewritten)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if not self.started:
            self.started = True
            for name, variable in self.old.items():
                # What a dataflow block does not output is unknown to the blocks behind it.
                inside = self.several_blocks and self.builder_.current_block_is_dataflow()
                emit = self.builder_.emit_output if inside else self.builder_.emit
                self.set_var_remap(variable, emit(self.replacements[name][1](), name))
        super().visit_var_binding_(binding)


def with_main(
    module: tvm.IRModule, parameters: list[relax.Var], like: relax.Function
) -> tvm.IRModule:
    """Copy ``module`` with a ``main`` that has the body of ``like`` and exactly ``parameters``."""
    function = relax.Function(parameters, like.body, like.ret_ty, like.is_pure, like.attrs)
    result = tvm.IRModule(dict(module.functions_items()), module.attrs)
    result.update_func(result.get_global_var(MAIN), function)
    return result


def result_types(call: relax.Call) -> list[relax.TensorType]:
    """Return the types of the results of a ``call_tir``, one or several."""
    kind = call.ty_args[0]
    return list(kind.fields) if isinstance(kind, relax.TupleType) else [kind]
