"""Turn the weights that no coded layer reads (biases, norms, layers that were declined) into constants.

    bias = dcc.lookup(b_codes, b_codebook); add(y, bias)    ->    add(y, const)

The weights of coded layers stay parameters, so that folding the constants afterwards cannot touch them.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.passes.operators.coded_layers import coded_layer
from dcc.passes.operators.encoded_weights import apply_mask_reference, lookup_reference
from dcc.passes.parameters import MAIN, with_main
from dcc.passes.weight_table import Array, WeightTable


@tvm.transform.module_pass(opt_level=0, name="dcc.BindPlainWeights")
@dataclass(frozen=True)
class BindPlainWeights:
    """Bind and fold every weight that is not an operand of a coded layer."""

    table: WeightTable

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``; only parameters of coded layers are left beside the inputs."""
        coded = _coded_parameters(module)
        function = _Binder(module, self.table.arrays, coded).visit_expr(module[MAIN])
        function = relax.analysis.remove_all_unused(function)
        used = {variable.name for variable in relax.analysis.free_vars(function.body)}
        parameters = [
            variable
            for variable in function.params
            if variable.name not in self.table.arrays or variable.name in coded & used
        ]
        return relax.transform.FoldConstant()(with_main(module, parameters, function))


def _coded_parameters(module: tvm.IRModule) -> frozenset[str]:
    """Names of the parameters that coded layers read as their weight."""
    names: set[str] = set()

    def visit(node: relax.Expr) -> None:
        layer = coded_layer(node)
        if layer is not None:
            names.update(variable.name for variable in layer.weight)

    relax.analysis.post_order_visit(module[MAIN], visit)
    return frozenset(names)


@mutator
class _Binder(PyExprMutator):
    def __init__(
        self, module: tvm.IRModule, arrays: dict[str, Array], coded: frozenset[str]
    ) -> None:
        super().__init__(module)
        self.arrays = arrays
        self.coded = coded

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        name = getattr(call.op, "name", "")
        if name in ("relax.dcc.lookup", "relax.dcc.apply_mask"):
            first, second = (self.arrays[variable.name] for variable in call.args)
            reference = lookup_reference if name.endswith("lookup") else apply_mask_reference
            return relax.const(reference(first, second))  # type: ignore[arg-type]
        return super().visit_call_(call)

    def visit_var_(self, variable: relax.Var) -> relax.Expr:
        if variable.name in self.arrays and variable.name not in self.coded:
            return relax.const(self.arrays[variable.name])
        return super().visit_var_(variable)
