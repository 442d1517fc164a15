"""Share the weights of a layer through a small codebook, visibly in the graph.

    masked = dcc.apply_mask(w, w_mask)    ->    shared = dcc.lookup(w_codes, w_codebook)

With ``bits`` the values are clustered by k-means (Han, Mao, Dally 2016, section 3); the exact zero
of a mask is kept apart as code 0. Without, the distinct values themselves are the codebook where
there are at most 256. Either way a codebook never costs more bytes than it saves; a weight that it
would not help keeps its values, and the reason is noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.passes.operators.encoded_weights import lookup
from dcc.passes.options import LayerOptions, Recipe
from dcc.passes.parameters import MAIN, parameter, replace_parameters, weight_parameters, with_main
from dcc.passes.sharing import Shared, cluster, regroup, share_distinct
from dcc.passes.weight_table import WeightTable

Operands = tuple[relax.Var, relax.Var]


@tvm.transform.module_pass(opt_level=0, name="dcc.ShareWeights")
@dataclass(frozen=True)
class ShareWeights:
    """Replace weights, masked or not, by ``dcc.lookup`` where a codebook pays."""

    table: WeightTable
    recipe: Recipe

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``; codes and codebooks are added to the table."""
        table = self.table
        chosen: dict[str, Operands] = {}
        for variable in weight_parameters(module, table.onnx_names):
            name = variable.name
            options = self.recipe.for_layer(table.layer(name), table.operator_type(name))
            shared = _share(table, name, options)
            if shared is not None:
                chosen[name] = (
                    parameter(table.add_part(name, "codes", shared[0]), shared[0]),
                    parameter(table.add_part(name, "codebook", shared[1]), shared[1]),
                )
        return _replace_plain(_replace_masked(module, table, chosen), chosen)


def _share(table: WeightTable, name: str, options: LayerOptions) -> Shared | None:
    """Codes and codebook of a weight; None, with the reason noted, where it keeps its values."""
    weight, mask = table.arrays[name], table.mask(name)
    if options.skip or weight.size == 0:
        table.say(name, "not shared: the recipe skips it" if options.skip else "not shared: empty")
        return None
    shared = share_distinct(weight, mask)
    if shared is None and options.bits is not None:
        shared = _clustered(table, name, options)
    if shared is None:
        table.say(name, "keeps its values: no codebook that saves bytes")
        return None
    table.say(name, f"codebook of {shared[1].size} values")
    return shared


def _clustered(table: WeightTable, name: str, options: LayerOptions) -> Shared | None:
    weight, mask = table.arrays[name], table.mask(name)
    if not np.isfinite(weight.astype(np.float64)).all():
        table.say(name, "not clustered: it has values that are not finite")
        return None
    clusters = cluster(weight, mask, options, table.importance.get(name))
    if clusters is None:
        return None
    # A cluster may lie at zero: what belongs to it leaves the mask.
    mask, shared = regroup(*clusters)
    if mask is not None and shared is not None:
        table.add_part(name, "mask", mask)
    return shared


def _replace_plain(module: tvm.IRModule, chosen: dict[str, Operands]) -> tvm.IRModule:
    """Put ``lookup`` in the place of the chosen weights that are left: those without a mask."""
    left = {variable.name for variable in module[MAIN].params}
    replacements = {
        name: (list(operands), partial(lookup, *operands))
        for name, operands in chosen.items()
        if name in left
    }
    return replace_parameters(module, replacements)


def _replace_masked(
    module: tvm.IRModule, table: WeightTable, chosen: dict[str, Operands]
) -> tvm.IRModule:
    """Turn ``apply_mask(w, w_mask)`` of the chosen weights into ``lookup``."""
    present = {variable.name for variable in module[MAIN].params}
    masks = {table.parts[name].get("mask", ""): name for name in chosen}
    masked = {name: chosen[name] for mask, name in masks.items() if mask in present}
    if not masked:
        return module
    rewritten = _MaskToLookup(module, masked).visit_expr(module[MAIN])
    parameters: list[relax.Var] = []
    for variable in rewritten.params:
        if variable.name in masked:
            parameters += chosen[variable.name]
        elif masks.get(variable.name) not in masked:
            parameters.append(variable)
    return with_main(module, parameters, rewritten)


@mutator
class _MaskToLookup(PyExprMutator):
    def __init__(self, module: tvm.IRModule, chosen: dict[str, Operands]) -> None:
        super().__init__(module)
        self.chosen = chosen

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        if getattr(call.op, "name", "") == "relax.dcc.apply_mask":
            name = call.args[0].name
            if name in self.chosen:
                return lookup(*self.chosen[name])
        return super().visit_call_(call)
