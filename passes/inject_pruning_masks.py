"""Make the pruning of a weight visible in the graph.

    y = matmul(x, w)    ->    masked = dcc.apply_mask(w, w_mask); y = matmul(x, masked)

The mask comes from the layer's options: largest magnitude, N of M, blocks, or the zeros that are
already there. A weight without zeros gets no mask. Precondition: weights are parameters of
``main``; their values stand in the weight table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import tvm
from tvm import relax

from dcc.passes.operators.encoded_weights import apply_mask
from dcc.passes.options import LayerOptions, Recipe
from dcc.passes.parameters import MAIN, parameter, replace_parameters, weight_parameters
from dcc.passes.pruning import Mask, global_threshold, mask_for
from dcc.passes.weight_table import WeightTable
from dcc.passes.weight_views import BoundValues


@tvm.transform.module_pass(opt_level=0, name="dcc.InjectPruningMasks")
@dataclass(frozen=True)
class InjectPruningMasks:
    """Add ``dcc.apply_mask`` to every weight that has zeros after pruning."""

    table: WeightTable
    recipe: Recipe

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``; masks are added to the table."""
        table = self.table
        variables = [
            variable
            for variable in weight_parameters(module, table.onnx_names)
            if table.part(variable.name, "mask") is None
        ]
        options = {
            v.name: self.recipe.for_layer(table.layer(v.name), table.operator_type(v.name))
            for v in variables
        }
        thresholds = _global_thresholds(table, options)
        multiplied = _multiplied_as_stored(module)
        replacements = {}
        for variable in variables:
            name = variable.name
            axis = _reduction_axis(table, name, name in multiplied)
            mask = _mask(table, name, options[name], thresholds, axis)
            if mask is None:
                continue
            new = parameter(table.add_part(name, "mask", mask), mask)
            replacements[name] = ([variable, new], partial(apply_mask, variable, new))
        return replace_parameters(module, replacements)


def _global_thresholds(table: WeightTable, options: dict[str, LayerOptions]) -> dict[float, float]:
    """Threshold for each density that layers share under the global scope."""
    groups: dict[float, list[str]] = {}
    for name, layer in options.items():
        if _is_global(layer) and layer.density is not None and not layer.skip:
            groups.setdefault(layer.density, []).append(name)
    return {
        density: global_threshold([table.arrays[name] for name in names], density)  # type: ignore[misc]
        for density, names in groups.items()
    }


def _is_global(options: LayerOptions) -> bool:
    return options.scope == "global" and options.structure == "element"


def _multiplied_as_stored(module: tvm.IRModule) -> frozenset[str]:
    """Names of the parameters that a ``matmul`` reads as they are, without a transposition."""
    bound = BoundValues(module[MAIN])
    names: set[str] = set()

    def visit(node: relax.Expr) -> None:
        if getattr(getattr(node, "op", None), "name", "") == "relax.matmul":
            weight = bound.of(node.args[1])
            if isinstance(weight, relax.Var):
                names.add(weight.name)

    relax.analysis.post_order_visit(module[MAIN], visit)
    return frozenset(names)


def _reduction_axis(table: WeightTable, name: str, multiplied_as_stored: bool) -> int:
    """Axis of the inputs that an output sums over."""
    axes = table.arrays[name].ndim
    if multiplied_as_stored:
        return max(axes - 2, 0)
    if table.operator_type(name) in ("LSTM", "GRU"):  # (directions, gates * units, inputs)
        return axes - 1
    return min(1, axes - 1)


def _mask(
    table: WeightTable,
    name: str,
    options: LayerOptions,
    thresholds: dict[float, float],
    axis: int,
) -> Mask | None:
    weight = table.arrays[name]
    if options.skip:
        table.say(name, "not pruned: the recipe skips it")
        return None
    threshold = None
    if _is_global(options) and options.density is not None:
        threshold = thresholds[options.density]
    mask = mask_for(weight, options, threshold, axis)  # type: ignore[arg-type]
    if mask.all():
        table.say(name, "no mask: it has no zeros")
        return None
    table.say(name, f"mask keeps {np.count_nonzero(mask)} of {mask.size} weights")
    return mask
