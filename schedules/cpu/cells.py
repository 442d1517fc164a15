"""The cells of a recurrence after its product: neighbouring units of a sample as one vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.codegen.vector_units import VectorUnit, spread
from dcc.schedules.cpu.cell_functions import FLOAT, vector_functions
from dcc.schedules.cpu.vector_reader import hold
from dcc.schedules.weight_reader import Expr, bind


@dataclass(frozen=True)
class Cells:
    """``lanes`` units of ``sample`` from ``unit`` on; one unit where ``lanes`` is 1."""

    sample: Expr
    unit: Expr
    lanes: int

    def at(self, offset: int = 0) -> Expr:
        """Index of the units, ``offset`` further."""
        first = self.unit + offset
        return tir.Ramp(first, 1, self.lanes) if self.lanes > 1 else first

    def name(self, name: str, value: Expr) -> Expr:
        """Name an intermediate value."""
        return hold(name, value, FLOAT, self.lanes) if self.lanes > 1 else bind(name, value)

    def one_minus(self, value: Expr) -> Expr:
        """Return ``1 - value``."""
        return (spread(1.0, FLOAT, self.lanes) if self.lanes > 1 else 1.0) - value

    def sigmoid(self, value: Expr) -> Expr:
        """Sigmoid of a value."""
        return vector_functions(self.lanes)[0](value) if self.lanes > 1 else tir.sigmoid(value)

    def tanh(self, value: Expr) -> Expr:
        """Hyperbolic tangent of a value."""
        return vector_functions(self.lanes)[1](value) if self.lanes > 1 else tir.tanh(value)


def each_cells(
    batch: int, hidden: int, vectors: VectorUnit | None, body: Callable[[Cells], None]
) -> None:
    """Emit ``body`` for all units of all samples: whole vectors, then the units that are left."""
    lanes = vectors.lanes if vectors is not None else 1
    whole = hidden // lanes * lanes
    if whole:
        with T.grid(batch, hidden // lanes) as (sample, block):
            body(Cells(sample, block * lanes, lanes))
    if whole < hidden:
        with T.grid(batch, hidden - whole) as (sample, unit):
            body(Cells(sample, whole + unit, 1))
