"""A packed weight read by whole vectors: all lanes of a slice at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.codegen.packed import codes_per_byte
from dcc.codegen.vector_units import VectorUnit, lanes_of, spread
from dcc.schedules.cpu.weight_reader import Expr, WeightReader, allocate


def hold(name: str, value: Expr, kind: str, lanes: int) -> Expr:
    """Name a vector: TVM cannot analyse a bound one, LLVM keeps a local buffer in a register."""
    local = allocate(name, (lanes,), kind)
    T.buffer_store(local, value, [lanes_of(lanes)])
    return local[lanes_of(lanes)]


@dataclass
class VectorReader(WeightReader):
    """Reads (gap, value) of all lanes as int32 and float32 vectors.

    Attributes
    ----------
    unit
        Instructions of the processor.
    table
        The codebook in registers, where it fits.
    """

    unit: VectorUnit = field(kw_only=True)
    table: tir.Buffer | None = None

    def load_table(self) -> None:
        """Bring a codebook that fits into registers there."""
        if "codebook" not in self.buffers or self.packed.form == "dense":
            return
        codebook = self.buffers["codebook"]
        entries, lanes = int(codebook.ty.shape[0]), self.unit.lanes
        if entries > self.unit.register_entries:
            return
        registers = 1 if entries <= lanes else self.unit.register_entries // lanes
        table = allocate("table", (registers * lanes,), "float32")
        for start in range(0, registers * lanes, lanes):
            # Behind the codebook its last entry stands again: no read past the array.
            index = tir.min(tir.Ramp(start, 1, lanes), spread(entries - 1, "int32", lanes))
            values = self.unit.gather(codebook, [0], index)
            T.buffer_store(table, values, [tir.Ramp(start, 1, lanes)])
        self.table = table

    def read_lanes(self, slice_index: Expr, step: Expr) -> tuple[Expr | None, Expr]:
        """Read (gap, value) of every lane; the gap is None where every column has an entry."""
        bits = self.packed.code_bits
        gap: Expr | None = None
        code: Expr | None = None
        if "entries" in self.buffers:
            entry = self._symbols("entries", slice_index, step)
            code = entry
            if self.packed.gap_bits is not None:
                gap = entry >> self._all(bits)
                code = entry & self._all((1 << bits) - 1)
        else:
            if "gaps" in self.buffers:
                gap = self._symbols("gaps", slice_index, step)
            if "codes" in self.buffers:
                code = self._symbols("codes", slice_index, step)
        return gap, self._values(code, slice_index, step)

    def _all(self, value: int) -> Expr:
        return spread(value, "int32", self.unit.lanes)

    def _symbols(self, name: str, slice_index: Expr, step: Expr) -> Expr:
        lanes, every = self.unit.lanes, lanes_of(self.unit.lanes)
        if self.packed.form == "codebook":
            return hold(name, self._grid_codes(slice_index, step), "int32", lanes)
        symbols = self.buffers[name][self._place(slice_index, step), every]
        return hold(name, tir.Cast(f"int32x{lanes}", symbols), "int32", lanes)

    def _grid_codes(self, slice_index: Expr, step: Expr) -> Expr:
        """Codes of the dense grid, several columns to a byte."""
        lanes = self.unit.lanes
        per_byte = codes_per_byte(self.packed.code_bits)
        stored = self.buffers["codes"][slice_index, step // per_byte, lanes_of(lanes)]
        byte = tir.Cast(f"int32x{lanes}", stored)
        if per_byte == 1:
            return byte
        width = 8 // per_byte
        shift = tir.Broadcast(step % per_byte * width, lanes)
        return (byte >> shift) & self._all((1 << width) - 1)

    def _values(self, code: Expr | None, slice_index: Expr, step: Expr) -> Expr:
        every = lanes_of(self.unit.lanes)
        if self.packed.form == "dense":
            return self.buffers["values"][slice_index, step, every]
        if code is None:
            return self.buffers["values"][self._place(slice_index, step), every]
        if self.table is not None:
            return self.unit.lookup(self.table, code)
        return self.unit.gather(self.buffers["codebook"], [0], code)
