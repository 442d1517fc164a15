"""A weight laid out for one kernel: slices of ``lanes`` rows, and what each storage form keeps of them.

Arrays of a packed weight, in the order of the kernel's parameters (S slices, T steps of all slices, L lanes):

=========  ============================================================================================
dense      ``values`` (S, columns, L)
codebook   ``codes`` (S, ceil(columns / codes a byte), L) uint8, lowest bits first; ``codebook``
sparse     ``bases`` (S + 1), ``entries`` (T, L) with ``gap << code_bits | code``; ``codebook``.
           Without a codebook ``gaps`` (T, L) and ``values`` (T, L)
huffman    ``bases`` (S + 1), the symbol fields (T, L), ``codebook`` or ``values`` (T, L);
           ``codegen.packed_streams`` turns the symbol fields into one stream
=========  ============================================================================================

The two entry-wise forms may reorder the rows (``slices``); then ``order`` (S * L) comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.codegen.encoded_tensor import StorageBytes
from dcc.codegen.slices import SlicedEntries, full_slices, slice_rows
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.errors import EncodingError

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class PackedWeight:
    """One weight in one storage form; see the module for the arrays.

    Attributes
    ----------
    symbols
        Names of the symbol fields, in the order in which a kernel reads them.
    gap_bits, code_bits
        Widths of the fields of a joint entry; ``gap_bits`` is None where every column has an entry.
    code_length
        Bits that index a decode table; 0 in the uncoded forms.
    nbytes
        Where the bytes go.
    """

    form: Form
    rows: int
    columns: int
    lanes: int
    arrays: dict[str, Array]
    nbytes: StorageBytes
    symbols: tuple[str, ...] = ()
    gap_bits: int | None = None
    code_bits: int = 0
    code_length: int = 0

    @property
    def slices(self) -> int:
        """Number of slices of ``lanes`` rows."""
        return -(-self.rows // self.lanes)

    @property
    def steps(self) -> int:
        """Steps of all slices together."""
        return int(self.arrays["bases"][-1]) if "bases" in self.arrays else self.slices * self.columns


def pack(weight: WeightMatrix, form: Form, lanes: int, *, sort: bool = False) -> PackedWeight:
    """Lay ``weight`` out for a kernel that runs ``lanes`` rows in lockstep (huffman: ``packed_streams``)."""
    refusal = weight.refusal(form)
    if refusal is not None:
        raise EncodingError(f"storage form '{form}' cannot hold this weight: {refusal}")
    if form == "dense":
        return _pack_dense(weight, lanes)
    if form == "codebook":
        return _pack_codebook(weight, lanes)
    return _pack_sparse(weight, lanes, sort=sort)


def gather(source: Array, entries: SlicedEntries, fill: float) -> Array:
    """Values of ``source`` (flat) at each entry; ``fill`` for fillers and padding."""
    if not source.size:
        return np.full(entries.source.shape, fill, dtype=source.dtype)
    taken = source[np.maximum(entries.source, 0)]
    return np.where(entries.source >= 0, taken, source.dtype.type(fill))


def _by_lanes(grid: Array, lanes: int) -> Array:
    """A grid (rows, columns) as (slices, columns, lanes), zeros in the rows that fill the last slice."""
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


def codes_per_byte(code_bits: int) -> int:
    """How many codes a byte of the codebook form holds: 1, 2, 4 or 8."""
    return 8 // next(width for width in (1, 2, 4, 8) if width >= code_bits)


def _pack_codebook(weight: WeightMatrix, lanes: int) -> PackedWeight:
    assert weight.codes is not None
    assert weight.codebook is not None
    per_byte = codes_per_byte(weight.code_bits)
    groups = -(-weight.columns // per_byte)
    grid = np.zeros((-(-weight.rows // lanes), groups * per_byte, lanes), dtype=np.uint8)
    grid[:, : weight.columns] = _by_lanes(weight.codes, lanes)
    grid = grid.reshape(-1, groups, per_byte, lanes)
    codes = np.zeros(grid.shape[:2] + (lanes,), dtype=np.uint8)
    for place in range(per_byte):
        codes |= grid[:, :, place] << np.uint8(place * (8 // per_byte))
    used = -(-weight.grid.size // per_byte)
    nbytes = StorageBytes(used, 0, weight.codebook.nbytes, 0, codes.nbytes - used)
    return PackedWeight(
        "codebook",
        weight.rows,
        weight.columns,
        lanes,
        {"codes": codes, "codebook": weight.codebook},
        nbytes,
        symbols=("codes",),
        code_bits=weight.code_bits,
    )


def lay_out(
    weight: WeightMatrix, lanes: int, gap_bits: int | None, *, sort: bool = False
) -> SlicedEntries:
    """Entries of ``weight``: of its non-zeros, or of every column where ``gap_bits`` is None."""
    if gap_bits is None or weight.mask is None:
        return full_slices(weight.rows, weight.columns, lanes)
    return slice_rows(weight.mask, lanes, gap_bits, sort=sort)


def index_arrays(entries: SlicedEntries) -> dict[str, Array]:
    """The arrays that find the rows of ``entries``: ``order`` where there is one, and ``bases``."""
    order = {} if entries.order is None else {"order": entries.order}
    return {**order, "bases": entries.bases}


def _pack_sparse(weight: WeightMatrix, lanes: int, *, sort: bool) -> PackedWeight:
    widths = [(bits, dtype) for bits, dtype in ((8, np.uint8), (16, np.uint16))]
    candidates = []
    for bits, dtype in widths:
        gap_bits = bits - weight.code_bits
        if weight.mask is None:
            candidates.append((None, np.uint8, lay_out(weight, lanes, None)))
            break
        if gap_bits > 0:
            candidates.append((gap_bits, dtype, lay_out(weight, lanes, gap_bits, sort=sort)))
    extra = 0 if weight.codebook is not None else weight.dtype.itemsize
    gap_bits, dtype, entries = min(
        candidates, key=lambda c: c[2].gaps.size * (np.dtype(c[1]).itemsize + extra)
    )
    arrays = index_arrays(entries)
    found = sum(array.nbytes for array in arrays.values())
    kept = int(np.count_nonzero(entries.source >= 0))
    padding = 0
    if weight.codes is not None and weight.codebook is not None:
        codes = gather(weight.codes.ravel(), entries, 0).astype(np.int64)
        joint = (entries.gaps.astype(np.int64) << weight.code_bits) | codes
        arrays |= {"entries": joint.astype(dtype), "codebook": weight.codebook}
        size, used = arrays["entries"].nbytes, kept * np.dtype(dtype).itemsize
        padding = size - used
        width = np.dtype(dtype).itemsize * 8
        weights = used * (width if gap_bits is None else weight.code_bits) // width
        nbytes = StorageBytes(
            weights, used - weights + found, weight.codebook.nbytes, 0, padding
        )
        symbols: tuple[str, ...] = ("entries",)
    else:
        assert weight.values is not None
        values = gather(weight.values.ravel(), entries, 0)
        symbols = () if gap_bits is None else ("gaps",)
        if gap_bits is not None:
            arrays["gaps"] = entries.gaps.astype(dtype)
            padding += arrays["gaps"].nbytes - kept * np.dtype(dtype).itemsize
        arrays["values"] = values
        indices = sum(arrays[name].nbytes for name in symbols) - padding + found
        used = kept * values.itemsize
        nbytes = StorageBytes(used, indices, 0, 0, padding + values.nbytes - used)
    return PackedWeight(
        "sparse",
        weight.rows,
        weight.columns,
        lanes,
        arrays,
        nbytes,
        symbols,
        gap_bits,
        weight.code_bits,
    )
