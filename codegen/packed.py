"""Pack a weight in one of the uncoded storage forms; ``codegen.packed_weight`` has the layouts."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dcc.codegen.code_grid import code_width, pack_codes
from dcc.codegen.encoded_tensor import StorageBytes
from dcc.codegen.packed_sparse import pack_sparse
from dcc.codegen.packed_split import pack_split
from dcc.codegen.packed_weight import PackedWeight
from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.errors import EncodingError

__all__ = ["PackedWeight", "pack"]

Scalar = TypeVar("Scalar", bound=np.generic)


def pack(weight: WeightMatrix, form: Form, packing: Packing) -> PackedWeight:
    """Lay ``weight`` out for a kernel.

    The huffman form is laid out by ``codegen.packed_streams.pack_huffman``.

    Raises
    ------
    EncodingError
        The form cannot hold this weight; the message says why.
    """
    refusal = weight.refusal(form)
    if refusal is not None:
        raise EncodingError(f"storage form '{form}' cannot hold this weight: {refusal}")
    if form == "dense":
        return _pack_dense(weight, packing.lanes)
    if packing.segments and form != "huffman":
        return pack_split(weight, form, packing)
    if form == "codebook":
        return _pack_codebook(weight, packing.lanes)
    if form == "sparse":
        return pack_sparse(weight, packing)
    raise EncodingError("storage form 'huffman' is packed by 'pack_huffman'")


def _by_lanes(grid: npt.NDArray[Scalar], lanes: int) -> npt.NDArray[Scalar]:
    """Turn a grid (rows, columns) into (slices, columns, lanes), filled up with rows of zeros."""
    rows, columns = grid.shape
    padded = grid
    if rows % lanes:
        padded = np.zeros((-(-rows // lanes) * lanes, columns), dtype=grid.dtype)
        padded[:rows] = grid
    return np.ascontiguousarray(padded.reshape(-1, lanes, columns).transpose(0, 2, 1))


def _pack_dense(weight: WeightMatrix, lanes: int) -> PackedWeight:
    values = _by_lanes(weight.decode(), lanes)
    used = weight.grid.size * weight.dtype.itemsize
    nbytes = StorageBytes(used, 0, 0, 0, values.nbytes - used)
    return PackedWeight("dense", weight.rows, weight.columns, lanes, {"values": values}, nbytes)


def _pack_codebook(weight: WeightMatrix, lanes: int) -> PackedWeight:
    assert weight.codes is not None
    assert weight.codebook is not None
    codes = pack_codes(_by_lanes(weight.codes, lanes), weight.code_bits)
    used = -(-weight.grid.size * code_width(weight.code_bits) // 8)
    return PackedWeight(
        "codebook",
        weight.rows,
        weight.columns,
        lanes,
        {"codes": codes, "codebook": weight.codebook},
        StorageBytes(used, 0, weight.codebook.nbytes, 0, codes.nbytes - used),
        symbols=("codes",),
        code_bits=weight.code_bits,
    )
