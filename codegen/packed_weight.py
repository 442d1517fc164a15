"""A weight laid out for one kernel, in slices of ``lanes`` rows.

Arrays of a packed weight, in the order of the kernel's parameters (S slices, T steps of all slices,
L lanes):

=========  ======================================================================================
dense      ``values`` (S, columns, L)
codebook   ``codes`` (S, ceil(columns / codes a byte), L) uint8, lowest bits first; ``codebook``
sparse     ``bases`` (S + 1), ``entries`` (T, L) with ``gap << code_bits | code``; ``codebook``.
           Without a codebook ``gaps`` (T, L) and ``values`` (T, L)
huffman    ``bases`` (S + 1), the symbol fields (T, L), ``codebook`` or ``values`` (T, L);
           ``codegen.packed_streams`` turns the symbol fields into one stream
=========  ======================================================================================

The two entry-wise forms may reorder the rows (``slices``); then ``order`` (S * L) comes first.
``codegen.unpacking`` is the inverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcc.codegen.encoded_tensor import StorageBytes
from dcc.codegen.entry_layout import Array
from dcc.codegen.weight_matrix import Form


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
        if "bases" not in self.arrays:
            return self.slices * self.columns
        return int(self.arrays["bases"].astype(np.int64)[-1])
