"""Share the weights of a layer through a small codebook, visibly in the graph.

    masked = dcc.apply_mask(w, w_mask)    ->    shared = dcc.lookup(w_codes, w_codebook)

With ``bits`` the values are clustered by k-means (Han, Mao, Dally 2016, section 3); the exact zero of a mask is kept apart
as code 0. Without, the distinct values themselves are the codebook where there are at most 256. Either way a codebook never
costs more bytes than it saves; a weight that it would not help keeps its values, and the reason is noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from dcc.codegen.codebook import best_code_bits, kmeans
from dcc.passes.inject_pruning_masks import MASK_SUFFIX
from dcc.passes.operators.encoded_weights import lookup
from dcc.passes.options import LayerOptions, Recipe
from dcc.passes.parameters import MAIN, parameter, replace_parameters, weight_parameters, with_main
from dcc.passes.weight_table import Array, WeightTable

MAX_ENTRIES = 256

Shared = tuple[npt.NDArray[np.uint8], Array]


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
        chosen: dict[str, tuple[relax.Var, relax.Var]] = {}
        for variable in weight_parameters(module, table.onnx_names):
            name = variable.name
            operator = table.operator_types.get(name, "bias")
            options = self.recipe.for_layer(table.layer(name), operator)
            shared = _share(table, name, options)
            if shared is not None:
                parts = {"_codes": shared[0], "_codebook": shared[1]}
                first, second = (
                    parameter(table.add(name + suffix, part, name), part)
                    for suffix, part in parts.items()
                )
                chosen[name] = (first, second)
        module = _replace_masked(module, chosen)
        left = {v.name for v in module[MAIN].params}
        return replace_parameters(
            module,
            {
                name: (list(new), partial(lookup, *new))
                for name, new in chosen.items()
                if name in left
            },
        )


def _share(table: WeightTable, name: str, options: LayerOptions) -> Shared | None:
    """Codes and codebook of a weight; None, with the reason noted, where it keeps its values."""
    weight = table.arrays[name]
    mask = table.arrays.get(name + MASK_SUFFIX)
    if options.skip or weight.size == 0:
        table.say(name, "not shared: the recipe skips it")
        return None
    kept = weight[mask] if mask is not None else weight.ravel()
    shared = _lossless(kept, mask is not None)
    if shared is None and options.bits is not None:
        shared = _clustered(table, name, kept, options, mask is not None)
    if shared is None:
        table.say(name, "keeps its values: no codebook that saves bytes")
        return None
    codes = np.zeros(weight.shape, dtype=np.uint8)
    codes[mask if mask is not None else np.ones(weight.shape, dtype=np.bool_)] = shared[0]
    table.say(name, f"codebook of {shared[1].size} values")
    return codes, shared[1]


def _lossless(kept: Array, masked: bool) -> Shared | None:
    """The distinct values as codebook where they are few, bit for bit (NaN and -0.0 are values like others)."""
    bits = kept.view(f"u{kept.dtype.itemsize}")
    distinct = np.unique(bits[:65536])
    if distinct.size + masked <= MAX_ENTRIES:
        distinct = np.unique(bits)
    entries = distinct.size + masked
    width = max(int(entries - 1).bit_length(), 1)
    saved = kept.size * (8 * kept.dtype.itemsize - width) // 8
    if entries > MAX_ENTRIES or distinct.size * kept.dtype.itemsize > saved:
        return None
    codes = np.searchsorted(distinct, bits) + masked
    return codes.astype(np.uint8), _with_zero(distinct.view(kept.dtype), masked)


def _clustered(
    table: WeightTable, name: str, kept: Array, options: LayerOptions, masked: bool
) -> Shared | None:
    """k-means with at most ``2**bits`` values, zero among them where there is a mask."""
    assert options.bits is not None
    if not np.isfinite(kept.astype(np.float64)).all():
        table.say(name, "not clustered: it has values that are not finite")
        return None
    bits = best_code_bits(kept.size, options.bits, kept.dtype.itemsize)
    entries = (1 << bits) - masked if bits is not None else 0
    if entries < 1:
        return None
    centroids, codes = kmeans(kept, entries, options.initialization, options.seed)
    return (codes + masked).astype(np.uint8), _with_zero(centroids.astype(kept.dtype), masked)


def _with_zero(values: Array, masked: bool) -> Array:
    zero = np.zeros(1, dtype=values.dtype)
    return np.concatenate([zero, values]) if masked else values


def _replace_masked(
    module: tvm.IRModule, chosen: dict[str, tuple[relax.Var, relax.Var]]
) -> tvm.IRModule:
    """Turn ``apply_mask(w, w_mask)`` of the chosen weights into ``lookup``."""
    masked = {
        v.name.removesuffix(MASK_SUFFIX) for v in module[MAIN].params if v.name.endswith(MASK_SUFFIX)
    } & set(chosen)
    if not masked:
        return module
    rewritten = _MaskToLookup(module, {name: chosen[name] for name in masked}).visit_expr(module[MAIN])
    parameters: list[relax.Var] = []
    for variable in rewritten.params:
        if variable.name in masked:
            parameters += chosen[variable.name]
        elif variable.name.removesuffix(MASK_SUFFIX) not in masked:
            parameters.append(variable)
    return with_main(module, parameters, rewritten)


@mutator
class _MaskToLookup(PyExprMutator):
    def __init__(
        self, module: tvm.IRModule, chosen: dict[str, tuple[relax.Var, relax.Var]]
    ) -> None:
        super().__init__(module)
        self.chosen = chosen

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        if getattr(call.op, "name", "") == "relax.dcc.apply_mask":
            name = call.args[0].name
            if name in self.chosen:
                return lookup(*self.chosen[name])
        return super().visit_call_(call)
