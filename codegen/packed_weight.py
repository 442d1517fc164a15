"""A weight laid out for one kernel, in slices of ``lanes`` rows.

Arrays of a packed weight, in the order of the kernel's parameters (S slices, T steps of all slices,
L lanes):

=========  ======================================================================================
dense      ``values`` (S, columns, L)
codebook   ``codes`` (S, ceil(columns / codes a word), L) uint32 (``code_grid``); ``codebook``
sparse     ``bases`` (S + 1), ``entries`` (T, L) with ``gap << code_bits | code``; ``codebook``.
           Without a codebook ``gaps`` (T, L) and ``values`` (T, L)
huffman    ``bases`` (S + 1), the symbol fields (T, L), ``codebook`` or ``values`` (T, L);
           ``codegen.packed_streams`` turns the symbol fields into one stream
=========  ======================================================================================

In windows (``codegen.windows``) the two entry-wise forms have, behind ``bases``, ``windows`` (T)
and then

=========  ======================================================================================
sparse     ``entries`` (T / n, L) uint32, n steps a word (``steps_of_word``), the first in the
           lowest bits, each with ``code << offset bits | offset``; ``codebook``.
           Without a codebook ``offsets`` (T, L) uint8 and ``values`` (T, L)
huffman    the symbol fields ``codes`` and ``offsets`` (T, L), ``codebook``; or ``offsets`` and
           ``values`` (T, L)
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


def steps_of_word(entry_bits: int) -> int:
    """How many entries of windows stand in a word of 32 bits: bytes if they fit, or halves."""
    return 4 if entry_bits <= 8 else 2


@dataclass(frozen=True)
class PackedWeight:
    """One weight in one storage form; see the module for the arrays.

    Attributes
    ----------
    symbols
        Names of the symbol fields, in the order in which a kernel reads them.
    gap_bits, code_bits
        Widths of the fields of a joint entry; ``gap_bits`` is None where entries have no gaps.
    window
        Columns of a window; 0: there are none.
    code_length
        Bits that index a decode table; 0 in the uncoded forms.
    byte_tables
        Whether the decode tables are bytes (``codegen.code_tables``).
    refill_steps
        Steps between two refills of a decoder's windows; slices have a multiple of so many.
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
    window: int = 0
    byte_tables: bool = False
    refill_steps: int = 1

    @property
    def every_column(self) -> bool:
        """Whether step ``t`` is column ``t`` in every lane."""
        return self.gap_bits is None and not self.window

    @property
    def optional_symbol(self) -> str | None:
        """Field that a stream holds only where the code before it is not 0: padding has none."""
        return "offsets" if self.window and "codes" in self.symbols else None

    @property
    def offset_bits(self) -> int:
        """Bits that number the columns of a window."""
        return max(self.window - 1, 0).bit_length()

    @property
    def steps_of_word(self) -> int:
        """Steps whose entries stand in one word of a lane, where there are windows and codes."""
        return steps_of_word(self.offset_bits + self.code_bits)

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
