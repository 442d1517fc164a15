"""The huffman form: symbols of a weight in one entropy-coded stream for each slice.

``codegen.coding_choice`` counts the bytes of every choice of symbols; the smallest is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dcc.codegen import huffman
from dcc.codegen.code_tables import Table, byte_table, stream_codes, word_table
from dcc.codegen.coding_choice import Symbols, choose_coding
from dcc.codegen.encoded_tensor import StorageBytes
from dcc.codegen.entry_layout import Array, gather, index_arrays
from dcc.codegen.lane_streams import interleave
from dcc.codegen.packed_weight import PackedWeight
from dcc.codegen.packing import Packing
from dcc.codegen.row_split import RowSplit, SplitEntries
from dcc.codegen.thread_streams import write_streams
from dcc.codegen.weight_matrix import WeightMatrix
from dcc.errors import EncodingError


def pack_huffman(weight: WeightMatrix, packing: Packing) -> PackedWeight:
    """Lay ``weight`` out in the coding that ``packing`` asks for, its symbols still uncoded.

    ``entropy_code`` gives the bytes that are stored; a kernel built for this layout reads them
    after ``fold_decode``.
    """
    refusal = weight.refusal("huffman")
    if refusal is not None:
        raise EncodingError(f"storage form 'huffman' cannot hold this weight: {refusal}")
    coding = choose_coding(weight, packing)
    split = isinstance(coding.entries, SplitEntries)
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
        packing.lanes,
        arrays,
        StorageBytes(0, 0, 0, 0, 0),
        tuple(coding.fields),
        coding.gap_bits,
        weight.code_bits,
        coding.code_length,
        packing.window if "windows" in arrays else 0,
        coding.byte_tables,
        coding.refill_steps,
        RowSplit.of(packing, weight.columns) if split else None,
        coding.entries.reach if isinstance(coding.entries, SplitEntries) else 0,
    )


INDICES = ("order", "bases", "origins", "windows")
"""Arrays that find rows and columns."""


@dataclass(frozen=True)
class CodedSymbols:
    """Symbol fields as one stream: see ``codegen.lane_streams`` for its words."""

    starts: npt.NDArray[np.int32]
    stream: npt.NDArray[np.uint32]
    tables: dict[str, Table]
    payload_bits: int


def code_symbols(
    fields: Mapping[str, npt.NDArray[np.integer]],
    bases: npt.NDArray[np.integer],
    code_length: int,
    *,
    byte_tables: bool = False,
    refill_steps: int = 1,
    optional: str | None = None,
    apart: bool = False,
) -> CodedSymbols:
    """Entropy-code ``fields``, each (steps, lanes), which a step reads in turn.

    ``bases`` counts steps, as in ``codegen.slices``; no code is longer than ``code_length`` bits.
    The field ``optional`` is coded only where the field before it is not 0. The lanes of a slice
    share a stream, or have streams ``apart`` (``codegen.thread_streams``).
    """
    tables: dict[str, Table] = {}
    shape = next(iter(fields.values())).shape
    bits, codes = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.uint64)
    before: npt.NDArray[np.integer] = np.zeros(shape, dtype=np.int64)
    for name, symbols in fields.items():
        present = before != 0 if name == optional else np.ones(shape, dtype=np.bool_)
        counts = np.bincount(symbols[present], minlength=1)
        counts[0] += not counts.any()  # a field without symbols still has a well-formed table
        lengths = huffman.code_lengths(counts, code_length)
        tables[name] = byte_table(lengths) if byte_tables else word_table(lengths, code_length)
        found = np.where(present, symbols, 0)
        field_codes = np.where(present, stream_codes(lengths)[found], 0).astype(np.uint64)
        codes |= field_codes << bits.astype(np.uint64)
        bits += np.where(present, lengths[found], 0)
        before = symbols
    if apart:
        streams = write_streams(bits, codes, bases)
    else:
        streams = interleave(bits, codes, bases, refill_steps)
    return CodedSymbols(streams.starts, streams.words, tables, streams.payload_bits)


def entropy_code(packed: PackedWeight) -> PackedWeight:
    """Replace the symbol fields of a huffman layout by starts, stream and tables.

    ``nbytes`` of the result is measured on its arrays.
    """
    fields = {name: packed.arrays[name].astype(np.int64) for name in packed.symbols}
    coded = code_symbols(
        fields,
        packed.arrays["bases"].astype(np.int64),
        packed.code_length,
        byte_tables=packed.byte_tables,
        refill_steps=packed.refill_steps,
        optional=packed.optional_symbol,
        apart=packed.split is not None,
    )
    arrays: dict[str, Array] = {}
    for name, array in packed.arrays.items():
        if name not in packed.symbols:
            arrays[name] = array
        elif name == packed.symbols[0]:
            arrays |= {"starts": coded.starts, "stream": coded.stream}
            arrays |= {f"{field}_table": table for field, table in coded.tables.items()}
    payload = coded.payload_bits // 8
    indices = int(payload * _index_share(fields, packed.code_bits, packed.gap_bits))
    weights, padding = payload - indices, coded.stream.nbytes - payload
    if "values" in arrays:
        kept = int(np.count_nonzero(arrays["values"])) * arrays["values"].itemsize
        weights += kept
        padding += arrays["values"].nbytes - kept
    found = sum(arrays[name].nbytes for name in INDICES if name in arrays)
    nbytes = StorageBytes(
        weights=weights,
        indices=indices + coded.starts.nbytes + found,
        codebook=arrays["codebook"].nbytes if "codebook" in arrays else 0,
        tables=sum(table.nbytes for table in coded.tables.values()),
        padding=padding,
    )
    return replace(packed, arrays=arrays, nbytes=nbytes)


def _entropy(symbols: Symbols) -> float:
    counts = np.bincount(symbols.ravel())
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum()) if counts.size else 0.0


def _index_share(fields: Mapping[str, Symbols], code_bits: int, gap_bits: int | None) -> float:
    """Share of the stream that its gaps or offsets take.

    A stream is shared out by the entropies of its gaps or offsets and of its codes.
    """
    codes = fields.get("codes")
    if "offsets" in fields:
        columns = fields["offsets"]
    elif gap_bits is None:
        return 0.0
    elif "gaps" in fields:
        columns = fields["gaps"]
    else:
        columns = fields["entries"] >> code_bits
        codes = fields["entries"] & ((1 << code_bits) - 1)
    if codes is None:
        return 1.0
    of_columns, of_codes = _entropy(columns), _entropy(codes)
    return of_columns / max(of_columns + of_codes, 1e-12)
