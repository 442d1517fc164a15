"""Which symbols of a weight the huffman form codes, by counting the bytes of every choice.

The symbols are the joint entries, gaps and codes in turn, gaps alone (raw values), or the dense
grid of codes; each with gap widths around the mean gap and every width of the decode table. In
windows they are offsets and codes in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.codegen import huffman
from dcc.codegen.entry_layout import gather, lay_out, lay_out_windows
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
    """One way to entropy-code a weight, with its exact cost in bytes."""

    gap_bits: int | None
    entries: Entries
    fields: dict[str, Symbols]
    code_length: int
    cost: float


def codings(weight: WeightMatrix, lanes: int, *, sort: bool) -> Iterator[Coding]:
    """Every coding that is worth counting: gap widths around the mean gap, and the dense grid."""
    gap_widths: list[int | None] = []
    if weight.mask is not None:
        middle = max(1, int(np.ceil(-np.log2(max(weight.density, 2.0**-10)))))
        gap_widths += range(middle, min(middle + 4, 13))
    # A grid spends a bit or more on every zero: hopeless where most weights are zero.
    if weight.codebook is not None and weight.density > GRID_DENSITY:
        gap_widths.append(None)
    for gap_bits in gap_widths:
        entries = lay_out(weight, lanes, gap_bits, sort=sort)
        extra = 0 if weight.codebook is not None else entries.source.size * weight.dtype.itemsize
        for fields in _field_sets(weight, entries, gap_bits):
            yield _cheapest_table(gap_bits, entries, fields, extra)


def window_coding(weight: WeightMatrix, packing: Packing) -> Coding:
    """Code the entries of ``codegen.windows``."""
    entries = lay_out_windows(weight, packing)
    fields = {"offsets": entries.offsets.astype(np.int64)}
    if weight.codes is not None:
        fields["codes"] = gather(weight.codes.ravel(), entries, 0).astype(np.int64)
    return _cheapest_table(None, entries, fields, 0)


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


def _cheapest_table(
    gap_bits: int | None, entries: Entries, fields: dict[str, Symbols], extra: int
) -> Coding:
    """Cost ``fields`` with each width of the decode table that holds their alphabets."""
    counts = [np.bincount(symbols.ravel(), minlength=1) for symbols in fields.values()]
    alphabet = max(int(np.count_nonzero(count)) for count in counts)
    least = max(MIN_CODE_LENGTH, (alphabet - 1).bit_length() if alphabet > 1 else 1)
    candidates = []
    for code_length in range(least, MAX_CODE_LENGTH + 1):
        bits = sum(int((n * huffman.code_lengths(n, code_length)).sum()) for n in counts)
        cost = bits / 8 + len(fields) * (TABLE_WORD << code_length) + extra
        candidates.append(Coding(gap_bits, entries, fields, code_length, cost))
    return min(candidates, key=lambda candidate: candidate.cost)
