"""Packed weights of the layers: what maker and timer of CUDA kernels share; needs no TVM."""

from __future__ import annotations

import numpy as np
from layer_cases import STEP, Case, random_weight

from dcc.codegen.packed import pack
from dcc.codegen.packed_streams import entropy_code, pack_huffman
from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import Form, WeightMatrix


def weight_of(case: Case, seed: int) -> WeightMatrix:
    """Return the weight of a case, rows being outputs."""
    levels = np.rint(random_weight(case, np.random.default_rng(seed)).T / STEP).astype(np.int8)
    half = case.levels // 2
    codes = np.where(levels == 0, 0, np.where(levels < 0, levels + half, levels + half - 1))
    codebook = STEP * np.array([0, *range(1 - half, 0), *range(1, half + 1)], np.float32)
    return WeightMatrix(codes=codes.astype(np.uint8), codebook=codebook, mask=levels != 0)


def pack_arrays(weight: WeightMatrix, form: Form, packing: Packing) -> list[np.ndarray]:
    """Pack a weight as its kernel reads it."""
    if form == "huffman":
        packed = entropy_code(pack_huffman(weight, packing))
    else:
        packed = pack(weight, form, packing)
    return list(packed.arrays.values())
