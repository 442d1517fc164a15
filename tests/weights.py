"""Weight matrices for the tests of packing and of the kernels."""

from __future__ import annotations

import numpy as np

from dcc.codegen.packed import pack
from dcc.codegen.packed_streams import pack_huffman
from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import FORMS, WeightMatrix


def random_weight(generator, rows, columns, density=1.0, levels=None, dtype=np.float32):
    """A weight of ``levels`` distinct values (zero among them where some are masked), or raw values.

    ``density`` 1 has no mask.
    """
    mask = None if density == 1 else generator.random((rows, columns)) < density
    if levels is None:
        values = generator.standard_normal((rows, columns)).astype(dtype)
        values[values == 0] = 1
        if mask is not None:
            values[~mask] = 0
        return WeightMatrix(values=values, mask=mask)
    codebook = generator.standard_normal(levels).astype(dtype)
    codes = generator.integers(0, levels, (rows, columns)).astype(np.uint8)
    if mask is not None:
        codebook[0] = 0
        if levels == 1:
            mask[:] = False
        else:
            codes = generator.integers(1, levels, (rows, columns)).astype(np.uint8)
        codes[~mask] = 0
    return WeightMatrix(codes=codes, codebook=codebook, mask=mask)


def pack_any(weight, form, lanes, sort=False):
    """Pack in any form, symbols uncoded."""
    if form == "huffman":
        return pack_huffman(weight, Packing(lanes, sort=sort))
    return pack(weight, form, Packing(lanes, sort=sort))


def legal_forms(weight):
    return [form for form in FORMS if weight.refusal(form) is None]
