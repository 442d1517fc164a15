"""Which symbols of a weight the huffman form codes, by counting the bytes of every choice.

The symbols are the joint entries, gaps and codes in turn, gaps alone (raw values), or the dense
grid of codes; each with gap widths around the mean gap and every width of the decode table. In
windows they are codes and offsets in turn, no offset behind code 0. A packing may fix the width of
the gaps and the longest code: one of at most 7 bits gives tables of bytes, which stand in vector
registers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dcc.codegen import huffman
from dcc.codegen.code_tables import BYTE_TABLE_BITS, PACKED_SYMBOL_BITS, fits_bytes
from dcc.codegen.entry_layout import fits_windows, gather, lay_out_packed, lay_out_windows
from dcc.codegen.lane_streams import WORD_BITS
from dcc.codegen.packing import Packing
from dcc.codegen.slices import Entries, SlicedEntries
from dcc.codegen.weight_matrix import WeightMatrix

MAX_CODE_LENGTH = 12
MIN_CODE_LENGTH = 4
TABLE_WORD = 4
GRID_DENSITY = 0.4

Symbols = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Coding:
    """One way to entropy-code a weight, with its exact cost in bytes.

    Attributes
    ----------
    code_length
        Longest code, in bits.
    byte_tables
        Whether the decode tables are bytes.
    refill_steps
        Steps between two refills of a decoder's windows.
    """

    gap_bits: int | None
    entries: Entries
    fields: dict[str, Symbols]
    code_length: int
    byte_tables: bool
    refill_steps: int
    cost: float


def choose_coding(weight: WeightMatrix, packing: Packing) -> Coding:
    """Choose the coding that takes fewest bytes among those that ``packing`` allows.

    An alphabet that is too large for the longest code of ``packing`` gets longer ones.
    """
    candidates = list(_codings(weight, packing))
    if not candidates:
        candidates = list(_codings(weight, replace(packing, code_length=None)))
    return min(candidates, key=lambda candidate: candidate.cost)


def _codings(weight: WeightMatrix, packing: Packing) -> Iterator[Coding]:
    """Every coding that is worth counting: gap widths around the mean gap, and the dense grid."""
    if fits_windows(weight, packing.window):
        yield from _window_codings(weight, packing)
        return
    for gap_bits in _gap_widths(weight, packing):
        entries = lay_out_packed(weight, packing, gap_bits, packing.refill_steps)
        extra = 0 if weight.codebook is not None else entries.source.size * weight.dtype.itemsize
        for fields in _field_sets(weight, entries, gap_bits):
            yield from _tables(packing, gap_bits, entries, fields, extra)


def _window_codings(weight: WeightMatrix, packing: Packing) -> Iterator[Coding]:
    """Code the entries of ``codegen.windows``."""
    entries = lay_out_windows(weight, packing, multiple=packing.refill_steps)
    fields: dict[str, Symbols] = {}
    present = {}
    if weight.codes is not None:
        fields["codes"] = gather(weight.codes.ravel(), entries, 0).astype(np.int64)
        present["offsets"] = fields["codes"] != 0
    fields["offsets"] = entries.offsets.astype(np.int64)
    yield from _tables(packing, None, entries, fields, 0, present)


def _gap_widths(weight: WeightMatrix, packing: Packing) -> list[int | None]:
    if weight.mask is not None and packing.gap_bits is not None:
        return [packing.gap_bits]
    widths: list[int | None] = []
    if weight.mask is not None:
        middle = max(1, int(np.ceil(-np.log2(max(weight.density, 2.0**-10)))))
        widths += range(middle, min(middle + 4, 13))
    # A grid spends a bit or more on every zero: hopeless where most weights are zero.
    if weight.codebook is not None and weight.density > GRID_DENSITY:
        widths.append(None)
    return widths


def _field_sets(
    weight: WeightMatrix, entries: SlicedEntries, gap_bits: int | None
) -> Iterator[dict[str, Symbols]]:
    """Yield the sets of symbol fields that could code ``entries``."""
    gaps = entries.gaps.astype(np.int64)
    if weight.codes is None:
        yield {"gaps": gaps}
        return
    codes = gather(weight.codes.ravel(), entries, 0).astype(np.int64)
    if gap_bits is None:
        yield {"codes": codes}
        return
    joint = (gaps << weight.code_bits) | codes
    if gap_bits + weight.code_bits <= 16 and np.unique(joint).size <= 1 << MAX_CODE_LENGTH:
        yield {"entries": joint}
    yield {"gaps": gaps, "codes": codes}


def _tables(
    packing: Packing,
    gap_bits: int | None,
    entries: Entries,
    fields: dict[str, Symbols],
    extra: int,
    present: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> Iterator[Coding]:
    """Cost ``fields`` with each width of the decode table that holds their alphabets.

    ``present`` says which symbols of a field are coded, where not all are.
    """
    coded = [
        symbols[present[name]] if present and name in present else symbols.ravel()
        for name, symbols in fields.items()
    ]
    counts = [np.bincount(symbols, minlength=1) for symbols in coded]
    alphabet = max(int(np.count_nonzero(count)) for count in counts)
    least = max(MIN_CODE_LENGTH, (alphabet - 1).bit_length() if alphabet > 1 else 1)
    widths = [*range(least, MAX_CODE_LENGTH + 1)]
    if packing.code_length is not None:
        # Codes shorter than a table of bytes allows would not make it smaller.
        widths = [max(packing.code_length, BYTE_TABLE_BITS)]
    for code_length in widths:
        byte_tables = packing.code_length is not None and code_length <= BYTE_TABLE_BITS
        if code_length < least or (
            byte_tables and not all(fits_bytes(count.size, code_length) for count in counts)
        ):
            continue
        bits = sum(int((n * huffman.code_lengths(n, code_length)).sum()) for n in counts)
        table = sum(_table_bytes(count.size, code_length, byte_tables) for count in counts)
        cost = bits / 8 + table + extra
        steps = _refill_steps(packing, entries, len(fields) * code_length)
        yield Coding(gap_bits, entries, fields, code_length, byte_tables, steps, cost)


def _table_bytes(alphabet: int, code_length: int, byte_table: bool) -> int:
    if not byte_table:
        return TABLE_WORD << code_length
    return (1 if alphabet <= 1 << PACKED_SYMBOL_BITS else 2) << BYTE_TABLE_BITS


def _refill_steps(packing: Packing, entries: Entries, step_bits: int) -> int:
    """How many steps share a refill: those of the packing where their codes always fit it."""
    whole = not (entries.bases % packing.refill_steps).any()
    fits = step_bits * packing.refill_steps <= WORD_BITS
    return packing.refill_steps if whole and fits else 1
