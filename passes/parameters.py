"""Rewriting the weight parameters of a module's ``main``: the mechanics that several passes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

Array = npt.NDArray[np.generic]
MAIN = "main"


def parameter(name: str, array: Array) -> relax.Var:
    """A Relax variable for ``array``."""
    return relax.Var(name, relax.TensorType(array.shape, array.dtype.name))


def weight_parameters(module: tvm.IRModule, arrays: Mapping[str, Array]) -> list[relax.Var]:
    """Parameters of ``main`` that stand in ``arrays``, in order."""
    return [variable for variable in module[MAIN].params if variable.name in arrays]


def replace_parameters(
    module: tvm.IRModule,
    replacements: Mapping[str, tuple[list[relax.Var], Callable[[], relax.Expr]]],
) -> tvm.IRModule:
    """Put other parameters in the place of some, and an expression of them where the old one was read.

    ``replacements`` maps a parameter's name to its successors (which may hold the old variable itself) and to the
    expression that stands for it.
    """
    if not replacements:
        return module
    rewriter = _Replacement(module, replacements)
    return rewriter.transform()


@mutator
class _Replacement(PyExprMutator):
    """Emits the expressions ahead of the first binding and redirects every use."""

    def __init__(
        self,
        module: tvm.IRModule,
        replacements: Mapping[str, tuple[list[relax.Var], Callable[[], relax.Expr]]],
    ) -> None:
        super().__init__(module)
        self.module = module
        self.replacements = replacements
        self.started = False
        self.several_blocks = len(module[MAIN].body.blocks) > 1

    def transform(self) -> tvm.IRModule:
        function = self.module[MAIN]
        self.old = {v.name: v for v in function.params if v.name in self.replacements}
        rewritten = self.visit_expr(function)
        parameters = []
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
    """Copy of ``module`` whose ``main`` has the body of ``like`` and exactly ``parameters``."""
    function = relax.Function(parameters, like.body, like.ret_ty, like.is_pure, like.attrs)
    result = tvm.IRModule(dict(module.functions_items()), module.attrs)
    result.update_func(result.get_global_var(MAIN), function)
    return result


def result_types(call: relax.Call) -> list[relax.TensorType]:
    """Types of the results of a ``call_tir``, one or several."""
    kind = call.ty_args[0]
    return list(kind.fields) if isinstance(kind, relax.TupleType) else [kind]
