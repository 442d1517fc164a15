"""Weights of a layer as codes, which the host expands to int8 ahead of the device's loads.

A code is looked up in a table of int8 levels: one table for the layer, or one for each output
channel where a scale of the channel was folded into the weights. The codes stand in chunks, one for
each stream that the device runs, so that a chunk can be expanded by itself. Within an output they
stand by input block, kernel row and kernel column, then by channel of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dcc.codegen import bitstream, huffman
from dcc.codegen.code_grid import code_width
from dcc.errors import EncodingError
from dcc.targets.vta.isa import BLOCK

_COUNTED = 1 << 22  # codes at a time

CodedForm = Literal["codebook", "huffman"]
Int8 = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]
Shape = tuple[int, int, int, int]
"""Outputs, inputs, kernel rows, kernel columns."""


@dataclass(frozen=True)
class Levels:
    """A weight as codes into tables.

    Attributes
    ----------
    codes
        ``uint8``, shape (outputs, inputs, rows, columns).
    tables
        ``int8``, shape (1 or outputs, levels).
    """

    codes: npt.NDArray[np.uint8]
    tables: Int8

    @classmethod
    def of(cls, weight: Int8) -> Levels:
        """Take the distinct values of a weight."""
        levels, codes = np.unique(weight, return_inverse=True)
        return cls(codes.reshape(weight.shape).astype(np.uint8), levels[None, :])

    def decode(self, low: int = 0, high: int | None = None) -> Int8:
        """Look up the codes of the outputs from ``low`` to ``high``."""
        return look_up(self.codes[low:high], self.tables, low)

    @property
    def code_bits(self) -> int:
        """Bits that tell the levels apart."""
        return max((self.tables.shape[1] - 1).bit_length(), 1)


def look_up(codes: npt.NDArray[np.uint8], tables: Int8, first: int) -> Int8:
    """Levels of ``codes``, whose first output is number ``first``."""
    if len(tables) == 1:
        return tables[0][codes]
    rows = np.arange(first, first + len(codes)).reshape(-1, *[1] * (codes.ndim - 1))
    return tables[rows, codes]


class Chunk(NamedTuple):
    """A part of a weight: output blocks ``low`` to ``high``, positions ``first`` to ``last``.

    Both ends are one past the last. A position is an input block at a place of the kernel: number
    (input block * kernel rows + row) * kernel columns + column.
    """

    low: int
    high: int
    first: int
    last: int


@dataclass(frozen=True)
class CodedWeight:
    """The codes of a weight as the host reads them.

    Attributes
    ----------
    shape
        Of the whole weight.
    payloads
        Bytes of each chunk.
    lengths
        Code lengths of the Huffman code; empty for the form ``codebook``.
    """

    form: CodedForm
    shape: Shape
    tables: Int8
    chunks: tuple[Chunk, ...]
    payloads: tuple[Bytes, ...]
    lengths: npt.NDArray[np.uint8]

    def outputs(self, chunk: int) -> tuple[int, int]:
        """Output channels of a chunk: first, one past the last."""
        return _outputs(self.chunks[chunk], self.shape)

    def weights(self, chunk: int) -> int:
        """How many weights a chunk has."""
        low, high = self.outputs(chunk)
        return (high - low) * int(_channels(self.chunks[chunk], self.shape).sum())

    def expand(self, chunk: int) -> Int8:
        """Blocks of a chunk, shape (output blocks, positions, 16 outputs, 16 inputs)."""
        low, high = self.outputs(chunk)
        count, payload = self.weights(chunk), self.payloads[chunk].tobytes()
        if self.form == "huffman":
            codes = huffman.decode(payload, self.lengths, count)
        else:
            codes = bitstream.unpack(payload, self._width, count)
        part, there = self.chunks[chunk], _channels(self.chunks[chunk], self.shape)
        rows = codes.astype(np.uint8).reshape(high - low, -1)
        grid = np.zeros(((part.high - part.low) * BLOCK, len(there), BLOCK), dtype=np.int8)
        grid[: high - low, there] = look_up(rows, self.tables, low)
        return grid.reshape(-1, BLOCK, len(there), BLOCK).transpose(0, 2, 1, 3)

    @property
    def coded_bytes(self) -> int:
        """Bytes that the host reads: codes, tables and the code lengths."""
        payload = sum(part.nbytes for part in self.payloads)
        return payload + self.tables.nbytes + self.lengths.nbytes

    @property
    def _width(self) -> int:
        return code_width(max((self.tables.shape[1] - 1).bit_length(), 1))


def whole_weight(shape: Shape) -> Chunk:
    """Give the chunk that is everything."""
    outputs, inputs, rows, columns = shape
    return Chunk(0, -(-outputs // BLOCK), 0, -(-inputs // BLOCK) * rows * columns)


def encode_weight(levels: Levels, form: CodedForm, chunks: Sequence[Chunk]) -> CodedWeight:
    """Code a weight in chunks.

    Raises
    ------
    EncodingError
        The form would take no fewer bytes than int8.
    """
    refusal = coding_refusal(levels, form)
    if refusal:
        raise EncodingError(f"storage form '{form}': {refusal}")
    lengths = np.zeros(0, dtype=np.uint8)
    if form == "huffman":
        lengths = huffman.code_lengths(_counts(levels))
    payloads = []
    for chunk in chunks:
        codes = _codes(levels.codes, chunk)
        if form == "huffman":
            data = huffman.encode(codes, lengths)
        else:
            data = bitstream.pack(codes, code_width(levels.code_bits))
        payloads.append(np.frombuffer(data, dtype=np.uint8))
    shape = _shape(levels.codes)
    return CodedWeight(form, shape, levels.tables, tuple(chunks), tuple(payloads), lengths)


def coding_refusal(levels: Levels, form: CodedForm) -> str | None:
    """Say why a form is no use for a weight; None where it is."""
    count = levels.tables.shape[1]
    if form == "codebook" and code_width(levels.code_bits) == 8:
        return f"{count} levels need 8 bits a code, as many as int8 itself"
    return None


def _counts(levels: Levels) -> npt.NDArray[np.int64]:
    """How often each code occurs."""
    flat = levels.codes.reshape(-1)
    counts = np.zeros(levels.tables.shape[1], dtype=np.int64)
    for start in range(0, len(flat), _COUNTED):
        counts += np.bincount(flat[start : start + _COUNTED], minlength=len(counts))
    return counts


def _shape(codes: npt.NDArray[np.uint8]) -> Shape:
    outputs, inputs, rows, columns = codes.shape
    return outputs, inputs, rows, columns


def _outputs(chunk: Chunk, shape: Shape) -> tuple[int, int]:
    return chunk.low * BLOCK, min(chunk.high * BLOCK, shape[0])


def _channels(chunk: Chunk, shape: Shape) -> npt.NDArray[np.bool_]:
    """Which channels of each position exist, shape (positions, 16)."""
    blocks = np.arange(chunk.first, chunk.last) // (shape[2] * shape[3])
    return blocks[:, None] * BLOCK + np.arange(BLOCK) < shape[1]


def _codes(codes: npt.NDArray[np.uint8], chunk: Chunk) -> npt.NDArray[np.uint8]:
    """Codes of a chunk in their order, one axis."""
    shape = _shape(codes)
    low, high = _outputs(chunk, shape)
    inputs = -(-shape[1] // BLOCK)
    padded = np.zeros((high - low, inputs * BLOCK, *shape[2:]), dtype=np.uint8)
    padded[:, : shape[1]] = codes[low:high]
    grid = padded.reshape(high - low, inputs, BLOCK, *shape[2:]).transpose(0, 1, 3, 4, 2)
    part = grid.reshape(high - low, -1, BLOCK)[:, chunk.first : chunk.last]
    return part[:, _channels(chunk, shape)].reshape(-1)
