"""The statements of a decode stage in which every thread decodes the stream of a lane of its own.

See ``codegen.thread_streams`` for the streams. A thread holds two words of its stream, how many
bits of the first one it has used, and the word after, which it asked for a word's symbols ago: a
processor with many threads hides the rest of the time that this takes.
"""

from __future__ import annotations

from tvm import tirx as tir
from tvm.ir import TensorLoad

from dcc.codegen.decode_steps import Decoded, DecodeSpec, local, look_up
from dcc.codegen.lane_streams import WORD_BITS


class ThreadWindows:
    """The window of one thread in one stream region.

    Parameters
    ----------
    lane
        The lane of the thread, of ``lanes``.
    """

    def __init__(self, lane: tir.Expr, lanes: int, stream: tir.Buffer, spec: DecodeSpec) -> None:
        self.lane = lane
        self.lanes = lanes
        self.stream = stream
        self.spec = spec
        self.window = local(1, "uint64", "window")
        self.used = local(1, "int32", "used")
        self.ahead = local(1, "uint32", "ahead")
        self.position = local(1, "int32", "position")

    def open(self, start: tir.Expr) -> list[tir.Stmt]:
        """Load the first three words of the lane from word ``start`` of the slice on."""
        first = tir.Var("first", "int32")
        low = tir.Cast("uint64", self.stream[first])
        high = tir.Cast("uint64", self.stream[first + self.lanes])
        return [
            *(tir.AllocBuffer(b) for b in (self.window, self.used, self.ahead, self.position)),
            tir.Bind(first, start * self.lanes + self.lane),
            tir.BufferStore(self.window, low | high << tir.const(WORD_BITS, "uint64"), [0]),
            tir.BufferStore(self.ahead, self.stream[first + 2 * self.lanes], [0]),
            tir.BufferStore(self.position, first + 3 * self.lanes, [0]),
            tir.BufferStore(self.used, tir.const(0, "int32"), [0]),
        ]

    def decode(self, load: TensorLoad, field: int, table: tir.Buffer) -> Decoded:
        """Statements in the place of a read of a symbol, and the symbol."""
        bits, length = tir.Var("bits", "uint32"), tir.Var("length", "int32")
        shifted = self.window[0] >> tir.Cast("uint64", self.used[0])
        found, symbol, size = look_up(bits, table)
        statements = [
            tir.Bind(bits, tir.Cast("uint32", shifted)),
            *found,
            tir.Bind(length, tir.Cast("int32", size)),
            tir.BufferStore(self.used, self.used[0] + length, [0]),
        ]
        if field == len(self.spec.tables) - 1:
            statements.append(tir.IfThenElse(self.used[0] >= WORD_BITS, self._refill(), None))
        return statements, tir.Cast(load.source.ty.dtype, symbol)

    def _refill(self) -> tir.Stmt:
        """Drop the first word, append the word ahead, and ask for the next one."""
        high = tir.Cast("uint64", self.ahead[0]) << tir.const(WORD_BITS, "uint64")
        rest = self.window[0] >> tir.const(WORD_BITS, "uint64")
        return tir.SeqStmt(
            [
                tir.BufferStore(self.window, rest | high, [0]),
                tir.BufferStore(self.used, self.used[0] - WORD_BITS, [0]),
                tir.BufferStore(self.ahead, self.stream[self.position[0]], [0]),
                tir.BufferStore(self.position, self.position[0] + self.lanes, [0]),
            ]
        )
