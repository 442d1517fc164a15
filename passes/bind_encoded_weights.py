"""Bind stored masks, codes and codebooks to the weights of a freshly imported module.

    y = matmul(x, w)    ->    shared = dcc.lookup(w_codes, w_codebook); y = matmul(x, shared)

This is the state after ``ShareWeights``, from a container instead of a recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import tvm
from tvm import relax

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.passes.operators.encoded_weights import apply_mask, lookup
from dcc.passes.parameters import Replacement, parameter, replace_parameters, weight_parameters
from dcc.passes.pruning import Mask, nonzero_mask
from dcc.passes.sharing import Shared, regroup, share_distinct
from dcc.passes.weight_table import Array, WeightTable


@tvm.transform.module_pass(opt_level=0, name="dcc.BindEncodedWeights")
@dataclass(frozen=True)
class BindEncodedWeights:
    """Put the encoded form of each weight into the graph; ``tensors`` are keyed by ONNX name."""

    table: WeightTable
    tensors: Mapping[str, EncodedTensor]

    def transform_module(
        self, module: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite ``main``; masks, codes and codebooks are added to the table."""
        table, replacements = self.table, {}
        for variable in weight_parameters(module, table.onnx_names):
            tensor = self.tensors.get(table.layer(variable.name))
            if tensor is not None and variable.name not in table.parts:
                mask, shared = _canonical(table.arrays[variable.name], tensor)
                replacements[variable.name] = _bound(table, variable, mask, shared)
        return replace_parameters(module, {k: v for k, v in replacements.items() if v})


def _canonical(weight: Array, tensor: EncodedTensor) -> tuple[Mask | None, Shared | None]:
    """Mask, codes and codebook as ``ShareWeights`` makes them of the same dense weight.

    A container stores what is smallest in a file, which may differ.
    """
    if tensor.codes is not None and tensor.codebook is not None:
        return regroup(tensor.codes, tensor.codebook)
    if not weight.size:
        return None, None
    mask = nonzero_mask(weight)  # type: ignore[arg-type]
    present = None if mask.all() else mask
    return present, share_distinct(weight, present)


def _bound(
    table: WeightTable, variable: relax.Var, mask: Mask | None, shared: Shared | None
) -> Replacement | None:
    """Make what the graph reads instead of one weight; None for raw values."""
    name = variable.name
    if mask is not None:
        masking = parameter(table.add_part(name, "mask", mask), mask)
        table.say(name, f"mask keeps {np.count_nonzero(mask)} of {mask.size} weights")
    if shared is not None:
        codes = parameter(table.add_part(name, "codes", shared[0]), shared[0])
        codebook = parameter(table.add_part(name, "codebook", shared[1]), shared[1])
        table.say(name, f"codebook of {shared[1].size} values")
        return [codes, codebook], partial(lookup, codes, codebook)
    table.say(name, "keeps its values: no codebook that saves bytes")
    return None if mask is None else ([variable, masking], partial(apply_mask, variable, masking))
