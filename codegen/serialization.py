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

from dataclasses import dataclass, replace

import numpy as np

from dcc.codegen.byte_reader import varint
from dcc.codegen.raw_values import DTYPE_NAMES, write_values
from dcc.codegen.relative_index import to_entries
from dcc.codegen.sparse_plan import SparsePlan, plan_entries
from dcc.codegen.symbol_stream import StreamPlan, plan_stream, write_stream
from dcc.codegen.tensor_parts import EncodingChoices, Serialized, StorageBytes, TensorParts
from dcc.errors import EncodingError

MASKED, CODED, JOINT = 1 << 5, 1 << 6, 1 << 7  # flags beside the type


def serialize(parts: TensorParts, entropy_coded: bool = True) -> Serialized:
    """Choose the smallest layout and write it; without ``entropy_coded``, all of fixed widths."""
    form = DTYPE_NAMES.index(parts.dtype)
    form |= (MASKED if parts.mask is not None else 0) | (CODED if parts.codes is not None else 0)
    body = _write_body(parts, entropy_coded)
    form |= JOINT if body.choices.joint else 0
    shape = varint(len(parts.shape)) + b"".join(varint(length) for length in parts.shape)
    data = bytes([form]) + shape + body.data
    storage = replace(body.storage, tables=len(data) - body.storage.total)
    return Serialized(data, body.choices, storage)


def _write_body(parts: TensorParts, entropy_coded: bool) -> _Body:
    mask, codes, codebook, values = parts.mask, parts.codes, parts.codebook, parts.values
    if codes is not None and codebook is not None:
        if mask is None:
            return _write_dense_codes(codes.reshape(-1), codebook, entropy_coded)
        return _write_masked_codes(mask, codes, codebook, entropy_coded)
    if values is None:
        raise EncodingError("encoded tensor: neither codes with a codebook nor values")
    if mask is None:
        return _write_raw(values, entropy_coded)
    return _write_masked_values(mask, values, entropy_coded)


@dataclass(frozen=True)
class _Body:
    """Everything behind the header."""

    data: bytes
    choices: EncodingChoices
    storage: StorageBytes  # tables are counted at the end, as what is left


def _write_raw(values: np.ndarray, entropy_coded: bool) -> _Body:
    data = write_values(values, entropy_coded)
    choices = EncodingChoices(None, None, False, ())
    return _Body(data, choices, StorageBytes(weights=len(data)))


def _write_dense_codes(codes: np.ndarray, codebook: np.ndarray, entropy_coded: bool) -> _Body:
    book = bytes([len(codebook) - 1]) + write_values(codebook, entropy_coded)
    plan = plan_stream(np.bincount(codes, minlength=len(codebook)), entropy_coded)
    data = book + bytes([_stream_flags((plan,))]) + _stream(codes, len(codebook), plan)
    choices = EncodingChoices(None, _code_bits(codebook), False, _coded(("codes",), (plan,)))
    return _Body(data, choices, StorageBytes(weights=plan.payload_size, codebook=len(book)))


def _write_masked_values(mask: np.ndarray, values: np.ndarray, entropy_coded: bool) -> _Body:
    positions = np.flatnonzero(mask)
    if not len(positions):
        return _Body(bytes([0, 0]), EncodingChoices(1, None, False, ()), StorageBytes())
    plan = plan_entries(positions, None, 0, values.dtype.itemsize, entropy_coded)
    gaps, is_filler = to_entries(positions, mask.size, plan.gap_bits)
    per_entry = np.zeros(plan.entries, dtype=values.dtype)
    per_entry[~is_filler] = values
    weights = write_values(per_entry, entropy_coded)
    data = _entry_header(plan) + _stream(gaps, 1 << plan.gap_bits, plan.streams[0]) + weights
    choices = EncodingChoices(plan.gap_bits, None, False, _coded(("gaps",), plan.streams))
    return _Body(data, choices, StorageBytes(len(weights), plan.streams[0].payload_size))


def _write_masked_codes(
    mask: np.ndarray, codes: np.ndarray, codebook: np.ndarray, entropy_coded: bool
) -> _Body:
    positions = np.flatnonzero(mask)
    kept = codes.reshape(-1)[positions]
    book = bytes([len(codebook) - 1]) + write_values(codebook[1:], entropy_coded)
    code_bits = _code_bits(codebook)
    if not len(positions):
        choices = EncodingChoices(1, code_bits, False, ())
        return _Body(book + bytes([0, 0]), choices, StorageBytes(codebook=len(book)))
    plan = plan_entries(positions, kept, len(codebook), codebook.dtype.itemsize, entropy_coded)
    gaps, is_filler = to_entries(positions, mask.size, plan.gap_bits)
    per_entry = np.zeros(plan.entries, dtype=np.uint8)
    per_entry[~is_filler] = kept
    names: tuple[str, ...]
    if plan.joint:
        names = ("entries",)
        symbols = gaps.astype(np.uint32) * np.uint32(len(codebook)) + per_entry
        streams = _stream(symbols, len(codebook) << plan.gap_bits, plan.streams[0])
        storage = StorageBytes(plan.streams[0].payload_size, 0, len(book))
    else:
        names = ("gaps", "codes")
        streams = _stream(gaps, 1 << plan.gap_bits, plan.streams[0])
        streams += _stream(per_entry, len(codebook), plan.streams[1])
        index_bytes, code_bytes = (stream.payload_size for stream in plan.streams)
        storage = StorageBytes(code_bytes, index_bytes, len(book))
    choices = EncodingChoices(plan.gap_bits, code_bits, plan.joint, _coded(names, plan.streams))
    return _Body(book + _entry_header(plan) + streams, choices, storage)


def _entry_header(plan: SparsePlan) -> bytes:
    flags = _stream_flags(plan.streams) | (plan.gap_bits - 1) << 4
    return bytes([flags]) + varint(plan.entries)


def _stream_flags(streams: tuple[StreamPlan, ...]) -> int:
    return sum(1 << place for place, stream in enumerate(streams) if stream.lengths is not None)


def _coded(names: tuple[str, ...], streams: tuple[StreamPlan, ...]) -> tuple[str, ...]:
    pairs = zip(names, streams, strict=True)
    return tuple(name for name, stream in pairs if stream.lengths is not None)


def _code_bits(codebook: np.ndarray) -> int:
    return (len(codebook) - 1).bit_length()


def _stream(symbols: np.ndarray, alphabet: int, plan: StreamPlan) -> bytes:
    return plan.table + write_stream(symbols, alphabet, plan)
