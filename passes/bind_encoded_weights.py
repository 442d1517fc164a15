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

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.passes.inject_pruning_masks import MASK_SUFFIX
from dcc.passes.operators.encoded_weights import apply_mask, lookup
from dcc.passes.parameters import parameter, replace_parameters, weight_parameters
from dcc.passes.weight_table import WeightTable


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
        table = self.table
        replacements = {}
        for variable in weight_parameters(module, table.onnx_names):
            name = variable.name
            tensor = self.tensors.get(table.layer(name))
            if tensor is None:
                continue
            if tensor.codes is not None and tensor.codebook is not None:
                codes, codebook = (
                    parameter(table.add(name + suffix, array, name), array)
                    for suffix, array in (("_codes", tensor.codes), ("_codebook", tensor.codebook))
                )
                table.say(name, f"codebook of {tensor.codebook.size} values")
                replacements[name] = ([codes, codebook], partial(lookup, codes, codebook))
            elif tensor.mask is not None:
                mask = parameter(table.add(name + MASK_SUFFIX, tensor.mask, name), tensor.mask)
                table.say(name, f"mask keeps {np.count_nonzero(tensor.mask)} of {tensor.size}")
                replacements[name] = ([variable, mask], partial(apply_mask, variable, mask))
        return replace_parameters(module, replacements)
