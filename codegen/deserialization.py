"""One tensor from untrusted bytes: the inverse of :mod:`dcc.codegen.serialization`.

Each length is checked against the bytes at hand and the declared shape, and the declared shape
against the caller's limit, before anything of that size is made.
"""

from __future__ import annotations

import math

import numpy as np

from dcc.codegen.byte_reader import ByteReader
from dcc.codegen.raw_values import DTYPE_NAMES, FLOAT_NAMES, bits_of, numpy_dtype, read_values
from dcc.codegen.relative_index import MAX_GAP_BITS, entry_positions
from dcc.codegen.serialization import CODED, JOINT, MASKED
from dcc.codegen.sparse_plan import MAX_JOINT_SYMBOLS
from dcc.codegen.symbol_stream import read_stream
from dcc.codegen.tensor_parts import EncodingChoices, Serialized, StorageBytes, TensorParts
from dcc.errors import EncodingError

_MAX_DIMENSIONS = 32


def deserialize(data: bytes, max_bytes: int) -> tuple[TensorParts, Serialized]:
    """Read what :func:`dcc.codegen.serialization.serialize` wrote, checking everything.

    Parameters
    ----------
    max_bytes
        Limit of the memory that the decoded tensor with its mask and codes may take.

    Raises
    ------
    EncodingError
        If the bytes are damaged, cut short or declare more than ``max_bytes``.
    """
    reader = ByteReader(data, "encoded tensor")
    head = reader.byte()
    if head & 31 >= len(DTYPE_NAMES):
        raise EncodingError(f"encoded tensor: unknown type {head & 31}; the data are damaged")
    dtype = numpy_dtype(DTYPE_NAMES[head & 31])
    dimensions = reader.varint(_MAX_DIMENSIONS)
    shape = tuple(reader.varint(1 << 40) for _ in range(dimensions))
    # Numpy multiplies the other lengths even where one is 0.
    if math.prod(max(length, 1) for length in shape) * (dtype.itemsize + 2) > max_bytes:
        raise EncodingError(
            f"encoded tensor: shape {list(shape)} needs more than the limit of {max_bytes} bytes; "
            "the data are damaged, or the limit is too low"
        )
    masked, coded, joint = bool(head & MASKED), bool(head & CODED), bool(head & JOINT)
    if ((masked or coded) and dtype.name not in FLOAT_NAMES) or (joint and not (masked and coded)):
        raise EncodingError(
            "encoded tensor: a mask or codebook where none may be; the data are damaged"
        )
    body = _TensorReader(reader, shape, dtype)
    codebook = body.read_codebook(masked) if coded else None
    if masked:
        parts, choices = body.read_masked(codebook, joint)
    elif codebook is not None:
        parts, choices = body.read_dense_codes(codebook)
    else:
        parts, choices = body.read_raw()
    reader.finish()
    return parts, Serialized(data, choices, body.account(len(data)))


class _TensorReader:
    """The part behind the header; counts the bytes of each kind as it goes."""

    def __init__(self, reader: ByteReader, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._reader = reader
        self._shape = shape
        self._dtype = dtype
        self._size = math.prod(shape)
        self._codebook = self._indices = self._weights = 0

    def account(self, total: int) -> StorageBytes:
        """Where ``total`` bytes went."""
        tables = total - self._weights - self._indices - self._codebook
        return StorageBytes(self._weights, self._indices, self._codebook, tables)

    def read_codebook(self, masked: bool) -> np.ndarray:
        start = self._reader.position
        entries = self._reader.byte() + 1
        codebook = np.zeros(entries, dtype=self._dtype)
        codebook[int(masked) :] = read_values(self._reader, entries - int(masked), self._dtype)
        self._codebook = self._reader.position - start
        return codebook

    def read_raw(self) -> tuple[TensorParts, EncodingChoices]:
        start = self._reader.position
        values = read_values(self._reader, self._size, self._dtype)
        self._weights = self._reader.position - start
        return self._parts(None, None, None, values), EncodingChoices(None, None, False, ())

    def read_dense_codes(self, codebook: np.ndarray) -> tuple[TensorParts, EncodingChoices]:
        coded = bool(self._flags(1) & 1)
        codes, self._weights = self._symbols(self._size, len(codebook), coded)
        grid = codes.astype(np.uint8).reshape(self._shape)
        names = ("codes",) if coded else ()
        choices = EncodingChoices(None, (len(codebook) - 1).bit_length(), False, names)
        return self._parts(None, grid, codebook, None), choices

    def read_masked(
        self, codebook: np.ndarray | None, joint: bool
    ) -> tuple[TensorParts, EncodingChoices]:
        flags = self._flags(1 if joint or codebook is None else 3, gap=True)
        gap_bits = (flags >> 4) + 1
        count = self._reader.varint(self._size)
        mask = np.zeros(self._size, dtype=np.bool_)
        code_bits = None if codebook is None else (len(codebook) - 1).bit_length()
        names: tuple[str, ...] = ("gaps", "codes")
        codes = values = None
        if codebook is None:
            gaps, self._indices = self._symbols(count, 1 << gap_bits, bool(flags & 1))
            start = self._reader.position
            values = read_values(self._reader, count, self._dtype)
            self._weights = self._reader.position - start
            kept = bits_of(values) != 0
            values = values[kept]
        else:
            if joint:
                names = ("entries",)
                gaps, codes = self._joint(count, len(codebook), gap_bits, bool(flags & 1))
            else:
                gaps, self._indices = self._symbols(count, 1 << gap_bits, bool(flags & 1))
                codes, self._weights = self._symbols(count, len(codebook), bool(flags & 2))
            kept = codes != 0
        positions = entry_positions(gaps, self._size)[kept]
        mask[positions] = True
        grid = None
        if codes is not None:
            grid = np.zeros(self._size, dtype=np.uint8)
            grid[positions] = codes[kept]
            grid = grid.reshape(self._shape)
        coded = tuple(name for place, name in enumerate(names) if flags >> place & 1)
        choices = EncodingChoices(gap_bits, code_bits, joint, coded)
        return self._parts(mask.reshape(self._shape), grid, codebook, values), choices

    def _joint(
        self, count: int, entries: int, gap_bits: int, coded: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        if entries << gap_bits > MAX_JOINT_SYMBOLS:
            raise EncodingError("encoded tensor: too many joint symbols; the data are damaged")
        symbols, self._weights = self._symbols(count, entries << gap_bits, coded)
        return symbols // entries, symbols % entries

    def _flags(self, streams: int, gap: bool = False) -> int:
        flags = self._reader.byte()
        if flags & ~(streams | (((MAX_GAP_BITS - 1) << 4) if gap else 0)):
            raise EncodingError(f"encoded tensor: unknown flags {flags}; the data are damaged")
        return flags

    def _symbols(self, count: int, alphabet: int, coded: bool) -> tuple[np.ndarray, int]:
        """``count`` symbols below ``alphabet``, and the bytes of their payload."""
        if not count:
            return np.empty(0, dtype=np.uint16), 0
        start = self._reader.position
        symbols, table_size = read_stream(self._reader, count, alphabet, coded)
        if int(symbols.max()) >= alphabet:
            raise EncodingError(
                f"encoded tensor: symbol {int(symbols.max())}, expected less than {alphabet}; "
                "the data are damaged"
            )
        return symbols, self._reader.position - start - table_size

    def _parts(
        self,
        mask: np.ndarray | None,
        codes: np.ndarray | None,
        codebook: np.ndarray | None,
        values: np.ndarray | None,
    ) -> TensorParts:
        return TensorParts(self._shape, self._dtype.name, mask, codes, codebook, values)
