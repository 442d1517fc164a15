"""The statements of a decode stage that takes all lanes at once, on vector instructions.

One funnel shift brings the next 32 bits of every lane together, and all symbols of a turn of
``refill_steps`` steps are taken from these. Tables of bytes stand in registers, tables of words are
gathered from.
"""

from __future__ import annotations

from tvm import tirx as tir
from tvm.ir import TensorLoad

from dcc.codegen.code_tables import LENGTH_SHIFT, PACKED_SYMBOL_BITS
from dcc.codegen.decode_steps import Decoded, DecodeSpec, TableLayout, local
from dcc.codegen.lane_streams import WORD_BITS
from dcc.codegen.vector_units import VectorUnit, lanes_of, spread


def decodes_vectors(spec: DecodeSpec) -> bool:
    """Whether the unit of ``spec`` can decode all lanes at once."""
    unit = spec.unit
    return unit is not None and all(
        unit.byte_entries >= table.entries if table.dtype == "uint8" else unit.expands
        for table in spec.tables.values()
    )


class VectorWindows:
    """The windows of one stream region, its position in the stream, and how they decode.

    Attributes
    ----------
    current, following
        Two words of each lane.
    used
        Bits of ``current`` that have been used: less than 32 before each turn.
    window
        The next 32 bits of each lane, less the symbols of this turn.
    before
        The last symbol of each lane, where another depends on it.
    reads
        Symbols that the region has read so far in the text of the kernel.
    """

    def __init__(
        self, stream: tir.Buffer, spec: DecodeSpec, tables: list[tir.Buffer], unit: VectorUnit
    ) -> None:
        self.stream = stream
        self.spec = spec
        self.unit = unit
        self.current = local(unit.lanes, "uint32", "current")
        self.following = local(unit.lanes, "uint32", "following")
        self.used = local(unit.lanes, "uint32", "used")
        self.window = local(unit.lanes, "uint32", "window")
        self.before = local(unit.lanes, "uint32", "before")
        self.position = local(1, "int32", "position")
        self.registers = {
            table: local(int(table.ty.shape[0]), "uint8", "table_registers")
            for table in tables
            if table.ty.dtype == "uint8"
        }
        self.reads = 0

    @property
    def turn_reads(self) -> int:
        """Symbols between two refills."""
        return len(self.spec.tables) * self.spec.refill_steps

    def open(self, start: tir.Expr) -> list[tir.Stmt]:
        """Load the first two words of every lane from word ``start`` on, and the tables."""
        lanes, every = self.unit.lanes, lanes_of(self.unit.lanes)
        state = [self.current, self.following, self.used, self.window, self.position]
        if self.spec.optional is not None:
            state.append(self.before)
        statements: list[tir.Stmt] = [
            *(tir.AllocBuffer(buffer) for buffer in (*state, *self.registers.values())),
            tir.BufferStore(self.current, self._ahead(start), [every]),
            tir.BufferStore(self.following, self._ahead(start + lanes), [every]),
            tir.BufferStore(self.used, spread(0, "uint32", lanes), [every]),
            tir.BufferStore(self.position, start + 2 * lanes, [0]),
        ]
        for table, registers in self.registers.items():
            for at in range(0, int(table.ty.shape[0]), 4 * lanes):
                part = tir.Ramp(at, 1, 4 * lanes)
                statements.append(tir.BufferStore(registers, table[part], [part]))
        return statements

    def decode(self, load: TensorLoad, field: int, table: tir.Buffer) -> Decoded:
        """Statements in the place of a read of the symbols of all lanes, and the symbols."""
        lanes, every = self.unit.lanes, lanes_of(self.unit.lanes)
        place = self.reads % self.turn_reads
        self.reads += 1
        statements: list[tir.Stmt] = []
        if place == 0:
            window = self.unit.funnel_shift(
                self.following[every], self.current[every], self.used[every]
            )
            statements.append(tir.BufferStore(self.window, window, [every]))
        found, symbol, size = self._lookup(table)
        if self.spec.is_optional(field):
            zero = spread(0, "uint32", lanes)
            size = tir.Select(self.before[every] != zero, size, zero)
        length = local(lanes, "uint32", "length")
        statements += [
            *found,
            tir.AllocBuffer(length),
            tir.BufferStore(length, size, [every]),
            tir.BufferStore(self.used, self.used[every] + length[every], [every]),
        ]
        if self.spec.optional is not None and not self.spec.is_optional(field):
            statements.append(tir.BufferStore(self.before, symbol, [every]))
        if place + 1 < self.turn_reads:
            shifted = self.window[every] >> length[every]
            statements.append(tir.BufferStore(self.window, shifted, [every]))
        else:
            statements += self._refill()
        return statements, tir.Cast(f"{load.source.ty.dtype}x{lanes}", symbol)

    def _ahead(self, position: tir.Expr) -> tir.Expr:
        return self.stream[tir.Ramp(position, 1, self.unit.lanes)]

    def _lookup(self, table: tir.Buffer) -> tuple[list[tir.Stmt], tir.Expr, tir.Expr]:
        """Look the next bits of every lane up: statements, the symbols and the code lengths."""
        unit, lanes, every = self.unit, self.unit.lanes, lanes_of(self.unit.lanes)
        layout = TableLayout(int(table.ty.shape[0]), str(table.ty.dtype))
        word = local(lanes, "uint32", "word")
        window = self.window[every]
        registers = self.registers.get(table)
        if registers is None:
            index = window & spread(layout.entries - 1, "uint32", lanes)
            words = unit.gather(table, [0], tir.Cast(f"int32x{lanes}", index))
        else:
            words = unit.lookup_bytes(registers, 0, window)
        found = [tir.AllocBuffer(word), tir.BufferStore(word, words, [every])]
        if registers is not None and layout.size > layout.entries:
            return found, word[every], unit.lookup_bytes(registers, layout.entries, window)
        shift = LENGTH_SHIFT if registers is None else PACKED_SYMBOL_BITS
        symbol = word[every] & spread((1 << shift) - 1, "uint32", lanes)
        return found, symbol, word[every] >> spread(shift, "uint32", lanes)

    def _refill(self) -> list[tir.Stmt]:
        """Append the next word of the stream to every lane that has used one up."""
        unit, lanes, every = self.unit, self.unit.lanes, lanes_of(self.unit.lanes)
        current, following, used = self.current, self.following, self.used
        count = local(1, "int32", "count")
        word_bits = spread(WORD_BITS, "uint32", lanes)
        short = used[every] >= word_bits
        ahead = unit.expand(self._ahead(self.position[0]), short, following[every])
        moved = tir.Select(short, following[every], current[every])
        return [
            tir.AllocBuffer(count),
            tir.BufferStore(current, moved, [every]),
            tir.BufferStore(following, ahead, [every]),
            tir.BufferStore(count, unit.count(short), [0]),
            tir.BufferStore(used, used[every] & spread(WORD_BITS - 1, "uint32", lanes), [every]),
            tir.BufferStore(self.position, self.position[0] + count[0], [0]),
        ]
