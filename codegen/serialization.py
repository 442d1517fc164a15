"""One tensor as bytes; :mod:`dcc.codegen.deserialization` reads them back.

Layout (integers are LEB128)::

    type and form   1 byte: type | masked << 5 | coded << 6 | joint << 7
    dimensions      count, then each
    codebook        if coded: entries - 1 (1 byte), values (without the zero that a mask implies)
    streams         if masked or coded, 1 byte:
                    first entropy-coded | second entropy-coded << 1 | (gap bits - 1) << 4
    entries         if masked: how many, fillers included
    gaps, codes     symbol streams; joint: one of gap * codebook entries + code
    values          if not coded: one per entry (a filler's is zero)
"""

from __future__ import annotations

import numpy as np

from dcc.codegen.byte_reader import varint
from dcc.codegen.raw_values import DTYPE_NAMES, numpy_dtype, write_values
from dcc.codegen.relative_index import to_entries
from dcc.codegen.sparse_plan import plan_entries
from dcc.codegen.symbol_stream import StreamPlan, plan_stream, write_stream
from dcc.codegen.tensor_parts import EncodingChoices, Serialized, StorageBytes, TensorParts
from dcc.errors import EncodingError

MASKED, CODED, JOINT = 1 << 5, 1 << 6, 1 << 7  # flags beside the type


def serialize(parts: TensorParts) -> Serialized:
    """Choose the smallest layout and write it."""
    form = (MASKED if parts.mask is not None else 0) | (CODED if parts.codes is not None else 0)
    shape = varint(len(parts.shape)) + b"".join(varint(length) for length in parts.shape)
    if parts.mask is not None:
        form_joint, body, choices, storage = _write_masked(parts, parts.mask)
        form |= form_joint
    elif parts.codes is not None:
        body, choices, storage = _write_dense_codes(parts.codes.reshape(-1), _codebook_of(parts))
    else:
        body = write_values(_values_of(parts))
        choices = EncodingChoices(None, None, False, ())
        storage = StorageBytes(weights=len(body))
    header = bytes([DTYPE_NAMES.index(parts.dtype) | form]) + shape
    data = header + body
    storage = _with_tables(storage, len(data) - storage.total)
    return Serialized(data, choices, storage)


def _write_masked(
    parts: TensorParts, mask: np.ndarray
) -> tuple[int, bytes, EncodingChoices, StorageBytes]:
    positions = np.flatnonzero(mask)
    codes = None if parts.codes is None else parts.codes.reshape(-1)[positions]
    entries = len(_codebook_of(parts)) if codes is not None else 0
    codebook = (
        b"" if codes is None else bytes([entries - 1]) + write_values(_codebook_of(parts)[1:])
    )
    code_bits = None if codes is None else (entries - 1).bit_length()
    if not len(positions):
        choices = EncodingChoices(1, code_bits, False, ())
        return 0, codebook + bytes([0, 0]), choices, StorageBytes(codebook=len(codebook))
    plan = plan_entries(positions, codes, entries, numpy_dtype(parts.dtype).itemsize)
    gaps, is_filler = to_entries(positions, mask.size, plan.gap_bits)
    body = [
        codebook,
        bytes([_stream_flags(plan.streams) | (plan.gap_bits - 1) << 4]),
        varint(plan.entries),
    ]
    if codes is None:
        names: tuple[str, ...] = ("gaps",)
        streams = [_stream(gaps, 1 << plan.gap_bits, plan.streams[0])]
        values = np.zeros(plan.entries, dtype=numpy_dtype(parts.dtype))
        values[~is_filler] = _values_of(parts)
        weights = write_values(values)
        body += [*streams, weights]
        weight_bytes, index_bytes = len(weights), plan.streams[0].payload_size
    else:
        entry_codes = np.zeros(plan.entries, dtype=np.uint8)
        entry_codes[~is_filler] = codes
        if plan.joint:
            names = ("entries",)
            symbols = gaps.astype(np.uint32) * np.uint32(entries) + entry_codes
            body.append(_stream(symbols, entries << plan.gap_bits, plan.streams[0]))
            weight_bytes, index_bytes = plan.streams[0].payload_size, 0
        else:
            names = ("gaps", "codes")
            body.append(_stream(gaps, 1 << plan.gap_bits, plan.streams[0]))
            body.append(_stream(entry_codes, entries, plan.streams[1]))
            index_bytes, weight_bytes = (stream.payload_size for stream in plan.streams)
    coded = tuple(
        name for name, stream in zip(names, plan.streams, strict=True) if stream.lengths is not None
    )
    choices = EncodingChoices(plan.gap_bits, code_bits, plan.joint, coded)
    storage = StorageBytes(weight_bytes, index_bytes, len(codebook))
    return JOINT if plan.joint else 0, b"".join(body), choices, storage


def _write_dense_codes(
    codes: np.ndarray, codebook: np.ndarray
) -> tuple[bytes, EncodingChoices, StorageBytes]:
    book = bytes([len(codebook) - 1]) + write_values(codebook)
    plan = plan_stream(np.bincount(codes, minlength=len(codebook)))
    body = book + bytes([_stream_flags((plan,))]) + _stream(codes, len(codebook), plan)
    coded = () if plan.lengths is None else ("codes",)
    choices = EncodingChoices(None, (len(codebook) - 1).bit_length(), False, coded)
    return body, choices, StorageBytes(weights=plan.payload_size, codebook=len(book))


def _stream_flags(streams: tuple[StreamPlan, ...]) -> int:
    return sum(1 << place for place, stream in enumerate(streams) if stream.lengths is not None)


def _stream(symbols: np.ndarray, alphabet: int, plan: StreamPlan) -> bytes:
    return plan.table + write_stream(symbols, alphabet, plan)


def _with_tables(storage: StorageBytes, tables: int) -> StorageBytes:
    return StorageBytes(
        storage.weights, storage.indices, storage.codebook, storage.tables + tables, storage.padding
    )


def _codebook_of(parts: TensorParts) -> np.ndarray:
    if parts.codebook is None:
        raise EncodingError("codes without a codebook")
    return parts.codebook


def _values_of(parts: TensorParts) -> np.ndarray:
    if parts.values is None:
        raise EncodingError("neither codes nor values")
    return parts.values
