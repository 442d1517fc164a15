"""The statements of a decode stage: windows of all lanes, refilled from one stream.

See ``codegen.lane_streams`` for the stream and ``codegen.decode_stage`` for where these go.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx as tir
from tvm.ir import TensorLoad

from dcc.codegen.vector_units import VectorUnit, lanes_of, spread

WINDOW_BITS = 32
REFILL_BITS = 16

Decoded = tuple[list[tir.Stmt], tir.Expr]


@dataclass(frozen=True)
class DecodeSpec:
    """What a folded kernel reads instead of its symbol buffers.

    Attributes
    ----------
    symbols
        Parameter names of the symbol buffers, shape (steps, lanes), in the order of their reads.
    code_length
        Bits that index a decode table.
    halfwords
        Length of the stream.
    unit
        Vector instructions, for kernels that read the symbols of all lanes at once.
    """

    symbols: tuple[str, ...]
    code_length: int
    halfwords: int
    unit: VectorUnit | None = None


def _local(shape: int, kind: str, name: str) -> tir.Buffer:
    return tir.decl_buffer((shape,), kind, name, scope="local")


class LaneWindows:
    """The windows of one stream region, its position in the stream, and how they decode.

    Attributes
    ----------
    window
        The next 32 bits of each lane, topmost first.
    left
        How many of them are valid.
    position
        The next halfword of the stream.
    """

    def __init__(self, lanes: int, stream: tir.Buffer, spec: DecodeSpec) -> None:
        self.lanes = lanes
        self.stream = stream
        self.spec = spec
        self.window = _local(lanes, "uint32", "window")
        self.left = _local(lanes, "int32", "left")
        self.position = _local(1, "int32", "position")

    def open(self, start: tir.Expr) -> list[tir.Stmt]:
        """Load the first two halfwords of every lane from halfword ``start`` on."""
        lane = tir.Var("lane", "int32")
        high = tir.Cast("uint32", self.stream[start + lane])
        low = tir.Cast("uint32", self.stream[start + self.lanes + lane])
        both = (high << tir.const(REFILL_BITS, "uint32")) | low
        fill = tir.SeqStmt(
            [
                tir.BufferStore(self.window, both, [lane]),
                tir.BufferStore(self.left, tir.const(WINDOW_BITS, "int32"), [lane]),
            ]
        )
        return [
            *(tir.AllocBuffer(buffer) for buffer in (self.window, self.left, self.position)),
            tir.For(lane, 0, self.lanes, tir.ForKind.SERIAL, fill),
            tir.BufferStore(self.position, start + 2 * self.lanes, [0]),
        ]

    def decode(self, load: TensorLoad, table: tir.Buffer) -> Decoded:
        """Statements in the place of a read of symbols, of one lane or of all, and the symbols."""
        kind = load.source.ty.dtype
        if not isinstance(load.indices[1], tir.Ramp):
            return self._lane(load.indices[1], table, kind)
        unit = self.spec.unit
        assert unit is not None  # ``fold_decode`` has checked it
        if unit.expands:
            return self._all_lanes(unit, table, kind)
        return self._lane_by_lane(table, kind)

    def _lane(self, lane: tir.Expr, table: tir.Buffer, kind: str) -> Decoded:
        """Decode one symbol of a lane."""
        window, left, position = self.window, self.left, self.position
        shift = tir.const(WINDOW_BITS - self.spec.code_length, "uint32")
        word = tir.Var("word", "uint32")
        length = tir.Var("length", "uint32")
        rest = tir.Var("rest", "int32")
        short = tir.Var("short", "bool")
        index = tir.Cast("int32", window[lane] >> shift)
        halfword = tir.Cast("uint32", self.stream[position[0]])
        refill = halfword << tir.Cast("uint32", tir.max(REFILL_BITS - rest, 0))
        refilled = (window[lane] << length) | tir.Select(short, refill, tir.const(0, "uint32"))
        statements = [
            tir.Bind(word, table[index]),
            tir.Bind(length, word >> tir.const(16, "uint32")),
            tir.Bind(rest, left[lane] - tir.Cast("int32", length)),
            tir.Bind(short, rest <= REFILL_BITS),
            tir.BufferStore(window, refilled, [lane]),
            tir.BufferStore(left, rest + tir.Select(short, REFILL_BITS, 0), [lane]),
            tir.BufferStore(position, position[0] + tir.Cast("int32", short), [0]),
        ]
        return statements, tir.Cast(kind, word & tir.const(0xFFFF, "uint32"))

    def _all_lanes(self, unit: VectorUnit, table: tir.Buffer, kind: str) -> Decoded:
        """Decode one symbol of every lane at once."""
        lanes, every = self.lanes, lanes_of(self.lanes)
        window, left, position = self.window, self.left, self.position
        word, count = _local(lanes, "uint32", "word"), _local(1, "int32", "count")
        refill_bits = spread(REFILL_BITS, "int32", lanes)
        index = window[every] >> spread(WINDOW_BITS - self.spec.code_length, "uint32", lanes)
        length = word[every] >> spread(16, "uint32", lanes)
        short = left[every] <= refill_bits
        ahead = tir.Cast(f"uint32x{lanes}", self.stream[tir.Ramp(position[0], 1, lanes)])
        room = tir.max(refill_bits - left[every], spread(0, "int32", lanes))
        refill = unit.expand(ahead, short) << tir.Cast(f"uint32x{lanes}", room)
        more = tir.Select(short, refill_bits, spread(0, "int32", lanes))
        words = unit.gather(table, [0], tir.Cast(f"int32x{lanes}", index))
        statements = [
            tir.AllocBuffer(word),
            tir.AllocBuffer(count),
            tir.BufferStore(word, words, [every]),
            tir.BufferStore(left, left[every] - tir.Cast(f"int32x{lanes}", length), [every]),
            # ``short`` is what the lanes have left now, until they are refilled.
            tir.BufferStore(window, (window[every] << length) | refill, [every]),
            tir.BufferStore(count, unit.count(short), [0]),
            tir.BufferStore(left, left[every] + more, [every]),
            tir.BufferStore(position, position[0] + count[0], [0]),
        ]
        return statements, tir.Cast(
            f"{kind}x{lanes}", word[every] & spread(0xFFFF, "uint32", lanes)
        )

    def _lane_by_lane(self, table: tir.Buffer, kind: str) -> Decoded:
        """Decode lane by lane, for units that cannot expand; symbols pass through the stack."""
        lane = tir.Var("lane", "int32")
        symbols = _local(self.lanes, kind, "symbols")
        steps, symbol = self._lane(lane, table, kind)
        body = tir.SeqStmt([*steps, tir.BufferStore(symbols, symbol, [lane])])
        loop = tir.For(lane, 0, self.lanes, tir.ForKind.SERIAL, body)
        return [tir.AllocBuffer(symbols), loop], symbols[lanes_of(self.lanes)]
