"""Make the pruning of a weight visible in the graph.

    y = matmul(x, w)    ->    masked = dcc.apply_mask(w, w_mask); y = matmul(x, masked)

The mask comes from the layer's options: largest magnitude, N of M, blocks, or the zeros that are already there. A weight
without zeros gets no mask. Precondition: weights are parameters of ``main``; their values stand in the weight table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import tvm

from dcc.passes.operators.encoded_weights import apply_mask
from dcc.passes.options import LayerOptions, Recipe
from dcc.passes.parameters import parameter, replace_parameters, weight_parameters
from dcc.passes.pruning import Mask, global_threshold, mask_for
from dcc.passes.weight_table import WeightTable

MASK_SUFFIX = "_mask"


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
        options = {
            variable.name: self.recipe.for_layer(
                table.layer(variable.name), table.operator_types.get(variable.name, "bias")
            )
            for variable in weight_parameters(module, table.onnx_names)
        }
        thresholds = _global_thresholds(table, options)
        replacements = {}
        for variable in weight_parameters(module, table.onnx_names):
            mask = _mask(table, variable.name, options[variable.name], thresholds)
            if mask is None:
                continue
            name = table.add(variable.name + MASK_SUFFIX, mask, variable.name)
            new = parameter(name, mask)
            replacements[variable.name] = ([variable, new], partial(apply_mask, variable, new))
        return replace_parameters(module, replacements)


def _global_thresholds(
    table: WeightTable, options: dict[str, LayerOptions]
) -> dict[float, float]:
    """Threshold for each density that layers share under the global scope."""
    groups: dict[float, list[str]] = {}
    for name, layer in options.items():
        if layer.scope == "global" and layer.density is not None and not layer.skip:
            groups.setdefault(layer.density, []).append(name)
    return {
        density: global_threshold([table.arrays[name] for name in names], density)  # type: ignore[misc]
        for density, names in groups.items()
    }


def _mask(
    table: WeightTable, name: str, options: LayerOptions, thresholds: dict[float, float]
) -> Mask | None:
    weight = table.arrays[name]
    if options.skip:
        table.say(name, "not pruned: the recipe skips it")
        return None
    threshold = thresholds.get(options.density or -1.0) if options.scope == "global" else None
    mask = mask_for(weight, options, threshold)  # type: ignore[arg-type]
    if mask.all():
        table.say(name, "no mask: it has no zeros")
        return None
    table.say(name, f"mask keeps {np.count_nonzero(mask)} of {mask.size} weights")
    return mask
