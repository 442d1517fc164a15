"""The huffman form: which symbols of a weight are entropy-coded, and the streams that hold them.

The symbols are the joint entries, gaps and codes in turn, gaps alone (raw values), or the dense grid of codes. Every
choice, and every width of the decode table, is costed exactly by counting, and the smallest taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dcc.codegen import huffman
from dcc.codegen.encoded_tensor import StorageBytes
from dcc.codegen.lane_streams import interleave
from dcc.codegen.packed import Array, PackedWeight, gather, index_arrays, lay_out
from dcc.codegen.slices import SlicedEntries
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.errors import EncodingError

MAX_CODE_LENGTH = 12
MIN_CODE_LENGTH = 4
TABLE_WORD = 4
GRID_DENSITY = 0.4

Symbols = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Coding:
    """One way to entropy-code a weight, with its exact cost in bytes."""

    gap_bits: int | None
    entries: SlicedEntries
    fields: dict[str, Symbols]
    code_length: int
    cost: float


def pack_huffman(weight: WeightMatrix, lanes: int, *, sort: bool = False) -> PackedWeight:
    """Lay ``weight`` out with its symbol fields uncoded (uint16), in the coding that needs the fewest bytes.

    ``entropy_code`` gives the bytes that are stored; a kernel built for this layout reads them after ``fold_decode``.
    """
    refusal = weight.refusal("huffman")
    if refusal is not None:
        raise EncodingError(f"storage form 'huffman' cannot hold this weight: {refusal}")
    coding = min(_codings(weight, lanes, sort=sort), key=lambda candidate: candidate.cost)
    arrays = index_arrays(coding.entries)
    arrays |= {name: symbols.astype(np.uint16) for name, symbols in coding.fields.items()}
    if weight.codebook is not None:
        arrays["codebook"] = weight.codebook
    else:
        assert weight.values is not None
        arrays["values"] = gather(weight.values.ravel(), coding.entries, 0)
    return PackedWeight(
        "huffman",
        weight.rows,
        weight.columns,
        lanes,
        arrays,
        StorageBytes(0, 0, 0, 0, 0),
        tuple(coding.fields),
        coding.gap_bits,
        weight.code_bits,
        coding.code_length,
    )


@dataclass(frozen=True)
class CodedSymbols:
    """Symbol fields as one stream: see ``codegen.lane_streams`` for the halfwords."""

    starts: npt.NDArray[np.int32]
    stream: npt.NDArray[np.uint16]
    tables: dict[str, npt.NDArray[np.uint32]]
    payload_bits: int


def code_symbols(
    fields: Mapping[str, npt.NDArray[np.integer]], bases: npt.NDArray[np.integer], code_length: int
) -> CodedSymbols:
    """Entropy-code ``fields``, each (steps, lanes), read in turn at each step, with codes of at most ``code_length``."""
    tables, lengths, words = {}, [], []
    for name, symbols in fields.items():
        counts = np.bincount(symbols.ravel(), minlength=1)
        counts[0] += not symbols.size  # a weight without entries still has a well-formed table
        of_symbol = huffman.code_lengths(counts, code_length)
        tables[name] = huffman.decode_table(of_symbol, code_length)
        lengths.append(of_symbol[symbols].astype(np.int64))
        words.append(huffman.canonical_codes(of_symbol)[symbols])
    steps, lanes = lengths[0].shape
    shape = (steps * len(tables), lanes)
    streams = interleave(
        np.stack(lengths, axis=1).reshape(shape),
        np.stack(words, axis=1).reshape(shape),
        bases.astype(np.int64) * len(tables),
        len(tables),
    )
    return CodedSymbols(streams.starts, streams.halfwords, tables, streams.payload_bits)


def entropy_code(packed: PackedWeight) -> PackedWeight:
    """Replace the symbol fields of a huffman layout by starts, stream and tables; ``nbytes`` is measured on the result."""
    fields = {name: packed.arrays[name].astype(np.int64) for name in packed.symbols}
    coded = code_symbols(fields, packed.arrays["bases"], packed.code_length)
    arrays: dict[str, Array] = {}
    for name, array in packed.arrays.items():
        if name not in packed.symbols:
            arrays[name] = array
        elif name == packed.symbols[0]:
            arrays |= {"starts": coded.starts, "stream": coded.stream}
            arrays |= {f"{field}_table": table for field, table in coded.tables.items()}
    payload = coded.payload_bits // 8
    indices = int(payload * _gap_share(fields, packed.code_bits, packed.gap_bits))
    weights, padding = payload - indices, coded.stream.nbytes - payload
    if "values" in arrays:
        kept = int(np.count_nonzero(arrays["values"])) * arrays["values"].itemsize
        weights += kept
        padding += arrays["values"].nbytes - kept
    found = sum(arrays[name].nbytes for name in ("order", "bases") if name in arrays)
    nbytes = StorageBytes(
        weights=weights,
        indices=indices + coded.starts.nbytes + found,
        codebook=arrays["codebook"].nbytes if "codebook" in arrays else 0,
        tables=sum(table.nbytes for table in coded.tables.values()),
        padding=padding,
    )
    return replace(packed, arrays=arrays, nbytes=nbytes)


def _codings(weight: WeightMatrix, lanes: int, *, sort: bool) -> Iterator[_Coding]:
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
        extra = 0 if weight.codebook is not None else entries.gaps.size * weight.dtype.itemsize
        for fields in _field_sets(weight, entries, gap_bits):
            yield _cheapest_table(gap_bits, entries, fields, extra)


def _field_sets(
    weight: WeightMatrix, entries: SlicedEntries, gap_bits: int | None
) -> Iterator[dict[str, Symbols]]:
    """The symbol fields that could code ``entries``."""
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
    gap_bits: int | None, entries: SlicedEntries, fields: dict[str, Symbols], extra: int
) -> _Coding:
    """Cost ``fields`` with each width of the decode table that holds their alphabets."""
    counts = [np.bincount(symbols.ravel(), minlength=1) for symbols in fields.values()]
    alphabet = max(int(np.count_nonzero(count)) for count in counts)
    least = max(MIN_CODE_LENGTH, (alphabet - 1).bit_length() if alphabet > 1 else 1)
    candidates = []
    for code_length in range(least, MAX_CODE_LENGTH + 1):
        bits = sum(int((n * huffman.code_lengths(n, code_length)).sum()) for n in counts)
        cost = bits / 8 + len(fields) * (TABLE_WORD << code_length) + extra
        candidates.append(_Coding(gap_bits, entries, fields, code_length, cost))
    return min(candidates, key=lambda candidate: candidate.cost)


def _entropy(symbols: Symbols) -> float:
    counts = np.bincount(symbols.ravel())
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum()) if counts.size else 0.0


def _gap_share(fields: Mapping[str, Symbols], code_bits: int, gap_bits: int | None) -> float:
    """Share of the stream that its gaps take: a joint stream is shared out by the entropies of gaps and codes."""
    if gap_bits is None:
        return 0.0
    joint = fields.get("entries")
    gaps = fields["gaps"] if joint is None else joint >> code_bits
    codes = fields.get("codes") if joint is None else joint & ((1 << code_bits) - 1)
    if codes is None:
        return 1.0
    of_gaps, of_codes = _entropy(gaps), _entropy(codes)
    return of_gaps / max(of_gaps + of_codes, 1e-12)
