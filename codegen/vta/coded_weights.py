"""Weights of a layer as codes, which the host expands to int8 ahead of the device's loads.

A code is looked up in a table of int8 levels: one table for the layer, or one for each output
channel where a scale of the channel was folded into the weights. The codes stand in chunks, one for
each stream that the device runs, so that a chunk can be expanded by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dcc.codegen import huffman
from dcc.codegen.code_grid import code_width
from dcc.errors import EncodingError
from dcc.targets.vta.isa import BLOCK

CodedForm = Literal["codebook", "huffman"]
Int8 = npt.NDArray[np.int8]
Bytes = npt.NDArray[np.uint8]


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
    rows = np.arange(first, first + len(codes))
    return tables[rows[:, None, None, None], codes]


@dataclass(frozen=True)
class CodedWeight:
    """The codes of a weight as the host reads them.

    Attributes
    ----------
    shape
        Of the whole weight.
    chunks
        Output blocks of each chunk: first, one past the last.
    payloads
        Bytes of each chunk.
    lengths
        Code lengths of the Huffman code; empty for the form ``codebook``.
    """

    form: CodedForm
    shape: tuple[int, int, int, int]
    tables: Int8
    chunks: tuple[tuple[int, int], ...]
    payloads: tuple[Bytes, ...]
    lengths: npt.NDArray[np.uint8]

    def outputs(self, chunk: int) -> tuple[int, int]:
        """Output channels of a chunk: first, one past the last."""
        low, high = self.chunks[chunk]
        return low * BLOCK, min(high * BLOCK, self.shape[0])

    def weights(self, chunk: int) -> int:
        """How many weights a chunk has."""
        low, high = self.outputs(chunk)
        return (high - low) * self.shape[1] * self.shape[2] * self.shape[3]

    def expand(self, chunk: int) -> Int8:
        """Weights of a chunk, shape (outputs of the chunk, inputs, rows, columns)."""
        low, high = self.outputs(chunk)
        count, payload = self.weights(chunk), self.payloads[chunk]
        if self.form == "huffman":
            codes = huffman.decode(payload.tobytes(), self.lengths, count).astype(np.uint8)
        else:
            codes = _unpack(payload, self._width, count)
        return look_up(codes.reshape(high - low, *self.shape[1:]), self.tables, low)

    @property
    def coded_bytes(self) -> int:
        """Bytes that the host reads: codes, tables and the code lengths."""
        payload = sum(part.nbytes for part in self.payloads)
        return payload + self.tables.nbytes + self.lengths.nbytes

    @property
    def _width(self) -> int:
        return code_width(max((self.tables.shape[1] - 1).bit_length(), 1))


def encode_weight(
    levels: Levels, form: CodedForm, chunks: Sequence[tuple[int, int]]
) -> CodedWeight:
    """Code a weight in chunks of output blocks.

    Raises
    ------
    EncodingError
        The form would take no fewer bytes than int8.
    """
    refusal = coding_refusal(levels, form)
    if refusal:
        raise EncodingError(f"storage form '{form}': {refusal}")
    shape = levels.codes.shape
    assert len(shape) == 4
    lengths = np.zeros(0, dtype=np.uint8)
    if form == "huffman":
        counts = np.bincount(levels.codes.reshape(-1), minlength=levels.tables.shape[1])
        lengths = huffman.code_lengths(counts)
    payloads = []
    for low, high in chunks:
        codes = levels.codes[low * BLOCK : high * BLOCK].reshape(-1)
        if form == "huffman":
            payloads.append(np.frombuffer(huffman.encode(codes, lengths), dtype=np.uint8))
        else:
            payloads.append(_pack(codes, code_width(levels.code_bits)))
    return CodedWeight(form, shape, levels.tables, tuple(chunks), tuple(payloads), lengths)


def coding_refusal(levels: Levels, form: CodedForm) -> str | None:
    """Say why a form is no use for a weight; None where it is."""
    count = levels.tables.shape[1]
    if form == "codebook" and code_width(levels.code_bits) == 8:
        return f"{count} levels need 8 bits a code, as many as int8 itself"
    return None


def _pack(codes: npt.NDArray[np.uint8], width: int) -> Bytes:
    per_byte = 8 // width
    padded = np.zeros(-(-len(codes) // per_byte) * per_byte, dtype=np.uint8)
    padded[: len(codes)] = codes
    parts = padded.reshape(-1, per_byte) << (np.arange(per_byte, dtype=np.uint8) * width)
    packed: Bytes = np.bitwise_or.reduce(parts, axis=1).astype(np.uint8)
    return packed


def _unpack(payload: Bytes, width: int, count: int) -> npt.NDArray[np.uint8]:
    shifts = np.arange(8 // width, dtype=np.uint8) * width
    codes = payload[:, None] >> shifts & np.uint8((1 << width) - 1)
    flat: npt.NDArray[np.uint8] = codes.reshape(-1)[:count].astype(np.uint8)
    return flat
