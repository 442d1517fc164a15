"""The statements of a decode stage that takes the lanes one after the other.

See ``codegen.lane_streams`` for the stream and ``codegen.decode_stage`` for where these go.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tvm import tirx as tir
from tvm.ir import TensorLoad

from dcc.codegen.code_tables import BYTE_TABLE_BITS, LENGTH_SHIFT, PACKED_SYMBOL_BITS
from dcc.codegen.lane_streams import WORD_BITS
from dcc.codegen.packed_weight import PackedWeight
from dcc.codegen.vector_units import VectorUnit, lanes_of

Decoded = tuple[list[tir.Stmt], tir.Expr]


@dataclass(frozen=True)
class TableLayout:
    """Elements of a decode table: see ``codegen.code_tables``."""

    size: int
    dtype: str

    @property
    def entries(self) -> int:
        """Bit patterns that index the table."""
        return 1 << BYTE_TABLE_BITS if self.dtype == "uint8" else self.size


@dataclass(frozen=True)
class DecodeSpec:
    """What a folded kernel reads instead of its symbol buffers.

    Attributes
    ----------
    tables
        Decode table of each symbol buffer, by its parameter's name, in the order of their reads.
        The buffers have shape (steps, lanes).
    words
        Length of the stream.
    refill_steps
        Steps between two refills.
    optional
        Symbol that the stream holds only where the one before it is not 0.
    unit
        Vector instructions, for kernels that read the symbols of all lanes at once.
    apart
        Whether each lane has a stream and a thread of its own.
    """

    tables: dict[str, TableLayout]
    words: int
    refill_steps: int = 1
    optional: str | None = None
    unit: VectorUnit | None = None
    apart: bool = False

    @staticmethod
    def of(coded: PackedWeight, unit: VectorUnit | None = None) -> DecodeSpec:
        """Describe an entropy-coded weight."""
        tables = {name: coded.arrays[f"{name}_table"] for name in coded.symbols}
        layouts = {name: TableLayout(t.size, t.dtype.name) for name, t in tables.items()}
        words, optional = coded.arrays["stream"].size, coded.optional_symbol
        apart = coded.split is not None
        return DecodeSpec(layouts, words, coded.refill_steps, optional, unit, apart)

    def is_optional(self, field: int) -> bool:
        """Whether field number ``field`` is :attr:`optional`."""
        return list(self.tables)[field] == self.optional


def local(shape: int, kind: str, name: str) -> tir.Buffer:
    """Declare a buffer on the stack, which LLVM keeps in registers where it can."""
    return tir.decl_buffer((shape,), kind, name, scope="local")


def look_up(bits: tir.Expr, table: tir.Buffer) -> tuple[list[tir.Stmt], tir.Expr, tir.Expr]:
    """Look the lowest ``bits`` (unsigned) up: statements, the symbol and its code's length."""
    size = int(table.ty.shape[0])
    kind = str(table.ty.dtype)
    layout = TableLayout(size, kind)
    entry, word = tir.Var("entry", "int32"), tir.Var("word", kind)
    mask = tir.const(layout.entries - 1, bits.ty.dtype)
    statements = [
        tir.Bind(entry, tir.Cast("int32", bits & mask)),
        tir.Bind(word, table[entry]),
    ]
    wide = tir.Cast("uint32", word)
    if kind == "uint8" and size > layout.entries:
        return statements, wide, tir.Cast("uint32", table[entry + layout.entries])
    shift = PACKED_SYMBOL_BITS if kind == "uint8" else LENGTH_SHIFT
    symbol = wide & tir.const((1 << shift) - 1, "uint32")
    return statements, symbol, wide >> tir.const(shift, "uint32")


class LaneWindows:
    """The windows of one stream region, its position in the stream, and how they decode.

    Attributes
    ----------
    window
        The next bits of each lane, lowest first.
    left
        How many of them are valid: more than 32 before each turn of ``refill_steps`` steps.
    turn
        Steps of each lane since the last refill.
    before
        The last symbol of each lane, where another depends on it.
    position
        The next word of the stream.
    """

    def __init__(self, lanes: int, stream: tir.Buffer, spec: DecodeSpec) -> None:
        self.lanes = lanes
        self.stream = stream
        self.spec = spec
        self.window = local(lanes, "uint64", "window")
        self.left = local(lanes, "int32", "left")
        self.turn = local(lanes, "int32", "turn")
        self.before = local(lanes, "uint32", "before")
        self.position = local(1, "int32", "position")
        # Of kernels that name each lane: symbols of a lane in the text of the region so far.
        self.reads: Counter[int] = Counter()

    def open(self, start: tir.Expr) -> list[tir.Stmt]:
        """Load the first two words of every lane from word ``start`` on."""
        lane = tir.Var("lane", "int32")
        low = tir.Cast("uint64", self.stream[start + lane])
        high = tir.Cast("uint64", self.stream[start + self.lanes + lane])
        both = low | (high << tir.const(WORD_BITS, "uint64"))
        fill = [
            tir.BufferStore(self.window, both, [lane]),
            tir.BufferStore(self.left, tir.const(2 * WORD_BITS, "int32"), [lane]),
        ]
        buffers = [self.window, self.left, self.position]
        if self.spec.refill_steps > 1:
            fill.append(tir.BufferStore(self.turn, tir.const(0, "int32"), [lane]))
            buffers.append(self.turn)
        if self.spec.optional is not None:
            buffers.append(self.before)
        return [
            *(tir.AllocBuffer(buffer) for buffer in buffers),
            tir.For(lane, 0, self.lanes, tir.ForKind.SERIAL, tir.SeqStmt(fill)),
            tir.BufferStore(self.position, start + 2 * self.lanes, [0]),
        ]

    def decode(self, load: TensorLoad, field: int, table: tir.Buffer) -> Decoded:
        """Statements in the place of a read of symbols, of one lane or of all, and the symbols."""
        kind = load.source.ty.dtype
        if not isinstance(load.indices[1], tir.Ramp):
            return self._lane(load.indices[1], field, table, kind)
        lane = tir.Var("lane", "int32")
        symbols = local(self.lanes, kind, "symbols")
        steps, symbol = self._lane(lane, field, table, kind)
        body = tir.SeqStmt([*steps, tir.BufferStore(symbols, symbol, [lane])])
        loop = tir.For(lane, 0, self.lanes, tir.ForKind.SERIAL, body)
        return [tir.AllocBuffer(symbols), loop], symbols[lanes_of(self.lanes)]

    def _lane(self, lane: tir.Expr, field: int, table: tir.Buffer, kind: str) -> Decoded:
        """Decode one symbol of a lane, and refill the lane behind its last symbol of a turn."""
        window, left = self.window, self.left
        length, rest = tir.Var("length", "uint32"), tir.Var("rest", "int32")
        found, symbol, size = look_up(self.window[lane], table)
        if self.spec.is_optional(field):
            size = tir.Select(self.before[lane] != 0, size, tir.const(0, "uint32"))
        used = window[lane] >> tir.Cast("uint64", length)
        statements = [
            *found,
            tir.Bind(length, size),
            tir.Bind(rest, left[lane] - tir.Cast("int32", length)),
        ]
        if self.spec.optional is not None and not self.spec.is_optional(field):
            statements.append(tir.BufferStore(self.before, symbol, [lane]))
        if isinstance(lane, tir.IntImm):
            ends = self._ends_turn(int(lane))
        else:
            ends = field == len(self.spec.tables) - 1
        if ends:
            statements += self._refill(lane, used, rest)
        else:
            statements += [
                tir.BufferStore(window, used, [lane]),
                tir.BufferStore(left, rest, [lane]),
            ]
        return statements, tir.Cast(kind, symbol)

    @property
    def within_turn(self) -> bool:
        """Whether the reads of lanes that the kernel names end in the middle of a turn."""
        turn = len(self.spec.tables) * self.spec.refill_steps
        return any(count % turn for count in self.reads.values())

    def _ends_turn(self, lane: int) -> bool:
        """Count a read of a lane that the kernel names, and tell whether it is the turn's last."""
        self.reads[lane] += 1
        return self.reads[lane] % (len(self.spec.tables) * self.spec.refill_steps) == 0

    def _refill(self, lane: tir.Expr, used: tir.Expr, rest: tir.Expr) -> list[tir.Stmt]:
        """Append the next word of the stream to a lane that needs one."""
        window, left, turn, position = self.window, self.left, self.turn, self.position
        short = tir.Var("short", "bool")
        statements: list[tir.Stmt] = []
        needed = rest <= WORD_BITS
        if self.spec.refill_steps > 1 and not isinstance(lane, tir.IntImm):
            ends = tir.Var("ends", "bool")
            statements = [
                tir.Bind(ends, turn[lane] == self.spec.refill_steps - 1),
                tir.BufferStore(turn, tir.Select(ends, 0, turn[lane] + 1), [lane]),
            ]
            needed = tir.And(ends, needed)
        ahead: tir.Expr = tir.Cast("uint64", self.stream[position[0]])
        if isinstance(lane, tir.IntImm):
            # Loaded whether it is needed or not: whether cannot be foreseen, and the stream goes on
            # for a word a lane behind its end.
            loaded = tir.Var("ahead", "uint64")
            statements.append(tir.Bind(loaded, ahead))
            ahead = loaded
        word = ahead << tir.Cast("uint64", rest)
        refilled = used | tir.Select(short, word, tir.const(0, "uint64"))
        return [
            *statements,
            tir.Bind(short, needed),
            tir.BufferStore(window, refilled, [lane]),
            tir.BufferStore(left, rest + tir.Select(short, WORD_BITS, 0), [lane]),
            tir.BufferStore(position, position[0] + tir.Cast("int32", short), [0]),
        ]
