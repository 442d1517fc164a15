"""The decode stage: reads of symbol buffers become Huffman decoding in the load stage of a kernel.

``fold_decode`` rewrites a PrimFunc that reads uncoded symbols

    with T.attr({"dcc.stream": slice}):
        for t ...:
            for lane ...:
                entry = entries[bases[slice] + t, lane]

into one that keeps a 32-bit window for each lane in registers or on the stack, and decodes where it
read:

        word = table[window[lane] >> (32 - code_length)]     # symbol | length << 16
        window[lane] <<= word >> 16; left[lane] -= word >> 16
        if left[lane] <= 16: append the next halfword of the slice

Kernels that read all lanes at once (``entries[bases[slice] + t, 0:16]``) decode them at once.
Regions may be nested, for several slices in flight: a read belongs to the region whose slice its
index names.

The decoded weight never exists in memory. Reads must follow the stream: steps in order, within a
step the fields in the order of ``symbols``, within a field the lanes in order. The passes and the
tuner both call this function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import tirx as tir
from tvm.ir import TensorLoad

from dcc.codegen.vector_units import VectorUnit, lanes_of, spread
from dcc.errors import CompileError

STREAM_ATTRIBUTE = "dcc.stream"
WINDOW_BITS = 32
REFILL_BITS = 16


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


def fold_decode(function: tir.PrimFunc, spec: DecodeSpec) -> tir.PrimFunc:
    """Replace the symbol parameters of ``function`` by ``starts``, ``stream`` and their tables.

    The new parameters stand where the first symbol buffer stood: starts (slices), stream
    (halfwords), ``<symbol>_table``.

    Raises
    ------
    CompileError
        A symbol buffer or ``bases`` is not a parameter; a symbol is read outside of a stream
        region or where no statement can follow (an index, a condition, a loop's bound), or two
        in one statement.
    """
    parameters = list(function.params)
    names = [parameter.name for parameter in parameters]
    missing = [name for name in ("bases", *spec.symbols) if name not in names]
    if missing or not spec.symbols:
        raise CompileError(
            f"decode stage: expected symbol buffers and 'bases' among the kernel's parameters; "
            f"{missing or 'symbols'} are missing from {names}"
        )
    slices = int(parameters[names.index("bases")].ty.shape[0]) - 1
    starts = tir.decl_buffer((slices,), "int32", "starts")
    stream = tir.decl_buffer((spec.halfwords,), "uint16", "stream")
    tables = {
        name: tir.decl_buffer((1 << spec.code_length,), "uint32", f"{name}_table")
        for name in spec.symbols
    }
    sources = [(parameters[names.index(name)], tables[name]) for name in spec.symbols]
    body = _DecodeRewriter(sources, starts, stream, spec).rewrite(function.body)
    at = names.index(spec.symbols[0])
    kept = [p for p in parameters if p.name not in spec.symbols]
    added = [starts, stream, *tables.values()]
    return tir.PrimFunc([*kept[:at], *added, *kept[at:]], body, function.ret_type, function.attrs)


class _DecodeRewriter:
    """State of one rewrite: the buffers that hold symbols, and what replaces them."""

    def __init__(
        self,
        sources: list[tuple[tir.Var, tir.Buffer]],
        starts: tir.Buffer,
        stream: tir.Buffer,
        spec: DecodeSpec,
    ) -> None:
        self.sources = sources
        self.starts = starts
        self.stream = stream
        self.code_length = spec.code_length
        self.unit = spec.unit
        lanes = {int(source.ty.shape[1]) for source, _ in sources}
        if len(lanes) != 1:
            raise CompileError(f"decode stage: the symbol buffers differ in their lanes: {lanes}")
        self.lanes = lanes.pop()
        self.regions = 0
        # Statements with several symbols; an error raised in TVM's callbacks loses its class.
        self.crowded: list[list[TensorLoad]] = []

    def rewrite(self, body: tir.Stmt) -> tir.Stmt:
        """Fold every stream region of ``body``."""
        body = tvm_ffi.structural_map(body, (tir.AttrStmt, self._region))
        if self.regions == 0:
            raise CompileError(f"decode stage: the kernel has no '{STREAM_ATTRIBUTE}' region")
        if self.crowded:
            raise CompileError(
                f"decode stage: more than one symbol is read in a statement: {self.crowded[0]}; "
                "bind each to a name of its own"
            )
        stray = self._symbol_loads(body)
        if stray:
            raise CompileError(
                f"decode stage: {stray[0]} is read outside of a stream region, or not as a value; "
                "bind it to a name inside of the region"
            )
        return body

    def _table_of(self, load: TensorLoad) -> tir.Buffer | None:
        """Find the decode table of what ``load`` reads; None where it is no symbol."""
        return next((table for source, table in self.sources if load.source.same_as(source)), None)

    def _symbol_loads(self, node: object) -> list[TensorLoad]:
        found: list[TensorLoad] = []

        def visit(load: TensorLoad) -> None:
            if self._table_of(load) is not None:
                found.append(load)

        tvm_ffi.structural_walk(node, (TensorLoad, visit))
        return found

    def _region(self, region: tir.AttrStmt) -> tir.Stmt:
        if region.attr_key != STREAM_ATTRIBUTE:
            return region
        self.regions += 1
        window = tir.decl_buffer((self.lanes,), "uint32", "window", scope="local")
        left = tir.decl_buffer((self.lanes,), "int32", "left", scope="local")
        position = tir.decl_buffer((1,), "int32", "position", scope="local")

        def decode(statement: tir.Stmt) -> tir.Stmt:
            loads = self._symbol_loads(statement.value)
            if isinstance(region.value, tir.Var):
                loads = [load for load in loads if _names(load, region.value)]
            if not loads:
                return statement
            if len(loads) > 1:
                self.crowded.append(loads)
                return statement
            vector = isinstance(loads[0].indices[1], tir.Ramp)
            stage = self._vector_stage if vector else self._stage
            steps, symbol = stage(loads[0], window, left, position)

            def substitute(load: TensorLoad) -> Any:
                return load if self._table_of(load) is None else symbol

            value = tvm_ffi.structural_map(statement.value, (TensorLoad, substitute))
            return tir.SeqStmt([*steps, _with_value(statement, value)])

        body = tvm_ffi.structural_map(region.body, ((tir.Bind, tir.BufferStore), decode))
        opening = self._opening(region.value, window, left, position)
        return tir.SeqStmt(
            [
                tir.AllocBuffer(window),
                tir.AllocBuffer(left),
                tir.AllocBuffer(position),
                opening,
                body,
            ]
        )

    def _opening(
        self, slice_index: tir.Expr, window: tir.Buffer, left: tir.Buffer, position: tir.Buffer
    ) -> tir.Stmt:
        """Load the first two halfwords of every lane."""
        lane = tir.Var("lane", "int32")
        start = self.starts[slice_index]
        high = tir.Cast("uint32", self.stream[start + lane])
        low = tir.Cast("uint32", self.stream[start + self.lanes + lane])
        fill = tir.SeqStmt(
            [
                tir.BufferStore(window, (high << tir.const(REFILL_BITS, "uint32")) | low, [lane]),
                tir.BufferStore(left, tir.const(WINDOW_BITS, "int32"), [lane]),
            ]
        )
        return tir.SeqStmt(
            [
                tir.For(lane, 0, self.lanes, tir.ForKind.SERIAL, fill),
                tir.BufferStore(position, start + 2 * self.lanes, [0]),
            ]
        )

    def _stage(
        self, load: TensorLoad, window: tir.Buffer, left: tir.Buffer, position: tir.Buffer
    ) -> tuple[list[tir.Stmt], tir.Expr]:
        """Statements that decode one symbol of the lane of ``load``, and the symbol."""
        lane = load.indices[1]
        table = self._table_of(load)
        assert table is not None
        shift = tir.const(WINDOW_BITS - self.code_length, "uint32")
        word = tir.Var("word", "uint32")
        length = tir.Var("length", "uint32")
        rest = tir.Var("rest", "int32")
        short = tir.Var("short", "bool")
        index = tir.Cast("int32", window[lane] >> shift)
        halfword = tir.Cast("uint32", self.stream[position[0]])
        refill = halfword << tir.Cast("uint32", tir.max(REFILL_BITS - rest, 0))
        zero = tir.const(0, "uint32")
        statements = [
            tir.Bind(word, table[index]),
            tir.Bind(length, word >> tir.const(16, "uint32")),
            tir.Bind(rest, left[lane] - tir.Cast("int32", length)),
            tir.Bind(short, rest <= REFILL_BITS),
            tir.BufferStore(
                window, (window[lane] << length) | tir.Select(short, refill, zero), [lane]
            ),
            tir.BufferStore(left, rest + tir.Select(short, REFILL_BITS, 0), [lane]),
            tir.BufferStore(position, position[0] + tir.Cast("int32", short), [0]),
        ]
        return statements, tir.Cast(load.source.ty.dtype, word & tir.const(0xFFFF, "uint32"))

    def _vector_stage(
        self, load: TensorLoad, window: tir.Buffer, left: tir.Buffer, position: tir.Buffer
    ) -> tuple[list[tir.Stmt], tir.Expr]:
        """Statements that decode one symbol of every lane, and the symbols."""
        unit, lanes = self.unit, self.lanes
        if unit is None or unit.lanes != lanes:
            raise CompileError(f"decode stage: no vector unit of {lanes} lanes for '{load}'")
        if not unit.expands:
            return self._lane_by_lane(load, window, left, position)
        table = self._table_of(load)
        assert table is not None
        every = lanes_of(lanes)
        word = tir.decl_buffer((lanes,), "uint32", "word", scope="local")
        index = window[every] >> spread(WINDOW_BITS - self.code_length, "uint32", lanes)
        length = word[every] >> spread(16, "uint32", lanes)
        short = left[every] <= spread(REFILL_BITS, "int32", lanes)
        ahead = tir.Cast(f"uint32x{lanes}", self.stream[tir.Ramp(position[0], 1, lanes)])
        room = tir.max(spread(REFILL_BITS, "int32", lanes) - left[every], spread(0, "int32", lanes))
        refill = unit.expand(ahead, short) << tir.Cast(f"uint32x{lanes}", room)
        more = tir.Select(short, spread(REFILL_BITS, "int32", lanes), spread(0, "int32", lanes))
        count = tir.decl_buffer((1,), "int32", "count", scope="local")
        statements = [
            tir.AllocBuffer(word),
            tir.AllocBuffer(count),
            tir.BufferStore(
                word, unit.gather(table, [0], tir.Cast(f"int32x{lanes}", index)), [every]
            ),
            tir.BufferStore(left, left[every] - tir.Cast(f"int32x{lanes}", length), [every]),
            tir.BufferStore(window, (window[every] << length) | refill, [every]),
            tir.BufferStore(count, unit.count(short), [0]),
            tir.BufferStore(left, left[every] + more, [every]),
            tir.BufferStore(position, position[0] + count[0], [0]),
        ]
        symbol = word[every] & spread(0xFFFF, "uint32", lanes)
        return statements, tir.Cast(f"{load.source.ty.dtype}x{lanes}", symbol)

    def _lane_by_lane(
        self, load: TensorLoad, window: tir.Buffer, left: tir.Buffer, position: tir.Buffer
    ) -> tuple[list[tir.Stmt], tir.Expr]:
        """Decode lane by lane, for units that cannot expand; symbols pass through the stack."""
        lane = tir.Var("lane", "int32")
        kind = load.source.ty.dtype
        symbols = tir.decl_buffer((self.lanes,), kind, "symbols", scope="local")
        one = load.source[load.indices[0], lane]
        steps, symbol = self._stage(one, window, left, position)
        body = tir.SeqStmt([*steps, tir.BufferStore(symbols, symbol, [lane])])
        loop = tir.For(lane, 0, self.lanes, tir.ForKind.SERIAL, body)
        return [tir.AllocBuffer(symbols), loop], symbols[lanes_of(self.lanes)]


def _names(load: TensorLoad, slice_index: tir.Expr) -> bool:
    """Whether the index of ``load`` names the slice of a region."""
    found = []

    def visit(variable: tir.Var) -> None:
        if variable.same_as(slice_index):
            found.append(variable)

    tvm_ffi.structural_walk(load.indices[0], (tir.Var, visit))
    return bool(found)


def _with_value(statement: tir.Stmt, value: object) -> tir.Stmt:
    if isinstance(statement, tir.Bind):
        return tir.Bind(statement.var, value)
    return tir.BufferStore(statement.buffer, value, statement.indices)
