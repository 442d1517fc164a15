"""Turn the weights that no coded layer reads (biases, declined layers) into constants.

    bias = dcc.lookup(b_codes, b_codebook); add(y, bias)    ->    add(y, const)

The weights of coded layers stay parameters, so that folding the constants afterwards cannot touch
them. What such a layer and something else read is a parameter there and a constant here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.passes.operators.coded_layers import coded_layer
from dcc.passes.operators.encoded_weights import apply_mask_reference, lookup_reference
from dcc.passes.parameters import MAIN, constant, with_main
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
        arrays = self.table.arrays
        function = _Binder(module, arrays).visit_expr(module[MAIN])
        function = relax.analysis.remove_all_unused(function)
        read = {variable.name for variable in relax.analysis.free_vars(function.body)}
        parameters = [v for v in function.params if v.name not in arrays or v.name in read]
        return relax.transform.FoldConstant()(with_main(module, parameters, function))


@mutator
class _Binder(PyExprMutator):
    """Binds every weight but those that a coded layer reads as its weight."""

    def __init__(self, module: tvm.IRModule, arrays: dict[str, Array]) -> None:
        super().__init__(module)
        self.arrays = arrays

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        layer = coded_layer(call)
        if layer is not None:
            data = [self.visit_expr(part) for part in layer.data]
            epilogue = [part and self.visit_expr(part) for part in (layer.scale, layer.bias)]
            return replace(layer, data=data, scale=epilogue[0], bias=epilogue[1]).call()
        name = getattr(call.op, "name", "")
        if name in ("relax.dcc.lookup", "relax.dcc.apply_mask"):
            first, second = (self.arrays[variable.name] for variable in call.args)
            reference = lookup_reference if name.endswith("lookup") else apply_mask_reference
            return constant(reference(first, second))  # type: ignore[arg-type]
        return super().visit_call_(call)

    def visit_var_(self, variable: relax.Var) -> relax.Expr:
        if variable.name in self.arrays:
            return constant(self.arrays[variable.name])
        return super().visit_var_(variable)
