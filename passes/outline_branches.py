"""Pass ``OutlineBranches``: each branch of an ``If`` becomes a function of its own.

TVM 0.27 plans the memory of both branches as if they ran one after the other: storage that one
branch allocates is reused by the other, which then reads a register that was never set and crashes.
Functions are planned apart, and operators are fused inside them as everywhere else. To be run when
the weights are bound, before fusion.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator


@tvm.transform.module_pass(opt_level=0, name="dcc.OutlineBranches")
@dataclass(frozen=True)
class OutlineBranches:
    """Replace the branches of every ``If`` by calls of new private functions."""

    def transform_module(
        self, module: tvm.ir.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.ir.IRModule:
        """Outline the branches in every Relax function of ``module``."""
        rewriter = _Outliner(module)
        for variable, function in module.functions_items():
            if isinstance(function, relax.Function):
                rewriter.builder_.update_func(variable, rewriter.visit_expr(function))
        return rewriter.builder_.get()


@mutator
class _Outliner(PyExprMutator):
    """Outlines from the inside out, so that nested branches are calls already."""

    def visit_if_(self, branch: relax.If) -> relax.Expr:
        condition = self.visit_expr(branch.cond)
        bodies = [self.visit_expr(b) for b in (branch.true_branch, branch.false_branch)]
        calls = [self._outlined(body) for body in bodies]
        return relax.If(condition, *calls)

    def _outlined(self, body: relax.Expr) -> relax.SeqExpr:
        free = relax.analysis.free_vars(body)
        function = relax.Function(free, body, body.ty, is_pure=True)
        function = relax.utils.copy_with_new_vars(function)
        call = relax.Call(self.builder_.add_func(function, "branch"), free)
        result = relax.Var("branch_result", body.ty)
        return relax.SeqExpr([relax.BindingBlock([relax.VarBinding(result, call)])], result)
