"""Sums that stay in vector registers over a whole reduction: the core of the dense kernels.

A tile has some rows of some vectors. One step of the reduction multiplies each row's number with
each vector of the step, as an outer product:

    for row, for vector: sums[row, vector] += broadcast(number[row]) * vectors[vector]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tvm
from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.schedules.weight_reader import Expr, allocate, bind


def vector_registers(vector_floats: int) -> int:
    """Vector registers of a processor whose vectors have ``vector_floats`` elements."""
    return 32 if vector_floats >= 16 else 16


def lanes_of(dtype: str, vector_floats: int) -> int:
    """Elements of ``dtype`` that a vector register holds."""
    return max(vector_floats * 32 // tvm.DataType(dtype).bits, 1)


def tile_rows(vectors: int, vector_floats: int) -> int:
    """Most rows of a tile of ``vectors`` that fit the registers, beside a step's operands."""
    return max((vector_registers(vector_floats) - vectors - 1) // vectors, 1)


def even_parts(size: int, most: int) -> list[int]:
    """Split ``size`` into the fewest parts of at most ``most``, nearly equal, largest first."""
    count = -(-size // most)
    small, larger = divmod(size, count)
    return [small + 1] * larger + [small] * (count - larger)


def span(start: Expr | int, lanes: int) -> Expr | int:
    """Index of ``lanes`` elements from ``start`` on."""
    return tir.Ramp(start, 1, lanes) if lanes > 1 else start


class RegisterTile:
    """Emits the operations of a tile of (rows, vectors, lanes) sums of ``dtype``."""

    def __init__(self, rows: int, vectors: int, lanes: int, dtype: str) -> None:
        self.rows, self.vectors, self.lanes, self.dtype = rows, vectors, lanes, dtype
        self._sums = allocate("tile", (rows * vectors * lanes,), dtype)

    def clear(self) -> None:
        """Set all sums to zero."""
        for row, vector in self.places():
            self.set(row, vector, self._broadcast(tir.const(0, self.dtype)))

    def places(self) -> Iterator[tuple[int, int]]:
        """All pairs of row and vector."""
        return ((r, v) for r in range(self.rows) for v in range(self.vectors))

    def get(self, row: int, vector: int) -> Expr:
        """One vector of sums."""
        return self._sums[self._at(row, vector)]

    def set(self, row: int, vector: int, value: Expr) -> None:
        """Overwrite one vector of sums."""
        at = self._at(row, vector)
        T.buffer_store(self._sums, value, [at])

    def multiply(self, numbers: Sequence[Expr], vectors: Sequence[Expr]) -> None:
        """Add the outer product of a number for each row and the vectors."""
        held = [bind("vector", value) for value in vectors]
        for row, number in enumerate(numbers):
            factor = bind("factor", self._broadcast(number))
            for vector, value in enumerate(held):
                self.set(row, vector, self.get(row, vector) + factor * value)

    def _at(self, row: int, vector: int) -> Expr | int:
        return span((row * self.vectors + vector) * self.lanes, self.lanes)

    def _broadcast(self, value: Expr) -> Expr:
        return tir.Broadcast(value, self.lanes) if self.lanes > 1 else value
