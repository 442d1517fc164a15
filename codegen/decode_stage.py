"""The decode stage: reads of symbol buffers become Huffman decoding in the load stage of a kernel.

``fold_decode`` rewrites a PrimFunc that reads uncoded symbols

    with T.attr({"dcc.stream": slice}):
        for t ...:
            for lane ...:
                entry = entries[bases[slice] + t, lane]

into one that keeps the next 64 bits of each lane in registers or on the stack, and decodes where it
read:

        word = table[window[lane] & (2**code_length - 1)]     # symbol | length << 16
        window[lane] >>= word >> 16; left[lane] -= word >> 16
        if left[lane] <= 32: append the next word of the slice

Kernels that read all lanes at once (``entries[bases[slice] + t, 0:16]``) decode them at once; such
a kernel reads the steps between two refills in one pass of its loops. Regions may be nested, for
several slices in flight: a read belongs to the region whose slice its index names.

Where lanes have streams apart, a thread decodes one (``codegen.thread_windows``); the region's node
is its lane then. A kernel of many threads marks the part before its first barrier with
``T.attr(threads, "dcc.tables", thread)``: there, its threads copy the tables to shared memory.

The decoded weight never exists in memory. Reads must follow the stream: steps in order, within a
step the fields in the order of ``symbols``, within a field the lanes in order. The passes and the
tuner both call this function.
"""

from __future__ import annotations

from typing import Any

import tvm_ffi
from tvm import tirx as tir
from tvm.ir import TensorLoad

from dcc.codegen.decode_steps import DecodeSpec, LaneWindows
from dcc.codegen.decode_vectors import VectorWindows, decodes_vectors
from dcc.codegen.thread_windows import ThreadWindows
from dcc.errors import CompileError

__all__ = ["STREAM_ATTRIBUTE", "TABLES_ATTRIBUTE", "DecodeSpec", "fold_decode"]

STREAM_ATTRIBUTE = "dcc.stream"
TABLES_ATTRIBUTE = "dcc.tables"


def fold_decode(function: tir.PrimFunc, spec: DecodeSpec) -> tir.PrimFunc:
    """Replace the symbol parameters of ``function`` by ``starts``, ``stream`` and their tables.

    The new parameters stand where the first symbol buffer stood: starts (slices), stream (words),
    ``<symbol>_table``.

    Raises
    ------
    CompileError
        A symbol buffer or ``bases`` is not a parameter; a symbol is read outside of a stream
        region or where no statement can follow (an index, a condition, a loop's bound), or two
        in one statement; or all lanes are read out of turn.
    """
    parameters = list(function.params)
    names = [parameter.name for parameter in parameters]
    missing = [name for name in ("bases", *spec.tables) if name not in names]
    if missing or not spec.tables:
        raise CompileError(
            f"decode stage: expected symbol buffers and 'bases' among the kernel's parameters; "
            f"{missing or 'symbols'} are missing from {names}"
        )
    slices = int(parameters[names.index("bases")].ty.shape[0]) - 1
    starts = tir.decl_buffer((slices,), "int32", "starts")
    stream = tir.decl_buffer((spec.words,), "uint32", "stream")
    tables = {
        name: tir.decl_buffer((layout.size,), layout.dtype, f"{name}_table")
        for name, layout in spec.tables.items()
    }
    sources = [(parameters[names.index(name)], table) for name, table in tables.items()]
    body = _DecodeRewriter(sources, starts, stream, spec).rewrite(function.body)
    at = min(names.index(name) for name in spec.tables)
    kept = [p for p in parameters if p.name not in spec.tables]
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
        self.spec = spec
        lanes = {int(source.ty.shape[1]) for source, _ in sources}
        if len(lanes) != 1:
            raise CompileError(f"decode stage: the symbol buffers differ in their lanes: {lanes}")
        self.lanes = lanes.pop()
        self.regions = 0
        # Statements with several symbols; an error raised in TVM's callbacks loses its class.
        self.crowded: list[list[TensorLoad]] = []
        # Reads of all lanes that come out of turn.
        self.out_of_turn: list[object] = []

    def rewrite(self, body: tir.Stmt) -> tir.Stmt:
        """Fold every stream region of ``body``."""
        for load in self._symbol_loads(body):
            # Raised here: in a callback of the map below the error would lose its class.
            self._check_lanes(load)
        body = tvm_ffi.structural_map(body, (tir.AttrStmt, self._region))
        if self.regions == 0:
            raise CompileError(f"decode stage: the kernel has no '{STREAM_ATTRIBUTE}' region")
        if self.crowded:
            raise CompileError(
                f"decode stage: more than one symbol is read in a statement: {self.crowded[0]}; "
                "bind each to a name of its own"
            )
        if self.out_of_turn:
            raise CompileError(
                f"decode stage: {self.out_of_turn[0]} comes out of turn; read the fields "
                f"{list(self.spec.tables)} in their order, and {self.spec.refill_steps} steps in "
                "one pass of a loop"
            )
        stray = self._symbol_loads(body)
        if stray:
            raise CompileError(
                f"decode stage: {stray[0]} is read outside of a stream region, or not as a value; "
                "bind it to a name inside of the region"
            )
        return tvm_ffi.structural_map(body, (tir.AttrStmt, self._share_tables))

    def _share_tables(self, region: tir.AttrStmt) -> tir.Stmt:
        """Copy the tables to shared memory where a region begins; its reads are of the copy."""
        if region.attr_key != TABLES_ATTRIBUTE:
            return region
        threads, statements, copies = int(region.node), [], []
        for _, table in self.sources:
            kind = table.ty
            copy = tir.decl_buffer(kind.shape, kind.dtype, f"{table.name}_copy", scope="shared")
            statements += [tir.AllocBuffer(copy), _copy(table, copy, region.value, threads)]
            copies.append((table, copy))

        def redirect(load: TensorLoad) -> TensorLoad:
            found = (copy for table, copy in copies if load.source.same_as(table))
            copy = next(found, None)
            return load if copy is None else copy[tuple(load.indices)]

        body = tvm_ffi.structural_map(region.body, (TensorLoad, redirect))
        return tir.SeqStmt([*statements, body])

    def _check_lanes(self, load: TensorLoad) -> None:
        """Refuse a read of all lanes without a vector unit of as many."""
        unit = self.spec.unit
        if isinstance(load.indices[1], tir.Ramp) and (unit is None or unit.lanes != self.lanes):
            raise CompileError(
                f"decode stage: '{load}' reads all lanes, and the target has no vector unit of "
                f"{self.lanes} lanes; fold with the features for which the kernel was built"
            )

    def _field_of(self, load: TensorLoad) -> int | None:
        """Find the number of the field that ``load`` reads; None where it is no symbol."""
        fields = (f for f, (source, _) in enumerate(self.sources) if load.source.same_as(source))
        return next(fields, None)

    def _symbol_loads(self, node: object) -> list[TensorLoad]:
        found: list[TensorLoad] = []

        def visit(load: TensorLoad) -> None:
            if self._field_of(load) is not None:
                found.append(load)

        tvm_ffi.structural_walk(node, (TensorLoad, visit))
        return found

    def _region(self, region: tir.AttrStmt) -> tir.Stmt:
        if region.attr_key != STREAM_ATTRIBUTE:
            return region
        self.regions += 1
        windows = self._windows(region)

        def end_of_loop(loop: tir.For) -> tir.For:
            # Otherwise the next pass of the loop would begin in the middle of a turn.
            if _within_turn(windows):
                self.out_of_turn.append(f"the loop over {loop.loop_var}")
            return loop

        def decode(statement: tir.Stmt) -> tir.Stmt:
            loads = self._loads_of(region, statement.value)
            if not loads:
                return statement
            if len(loads) > 1:
                self.crowded.append(loads)
                return statement
            field = self._field_of(loads[0])
            assert field is not None
            if isinstance(windows, VectorWindows) and field != windows.reads % len(self.sources):
                self.out_of_turn.append(loads[0])
            steps, symbol = windows.decode(loads[0], field, self.sources[field][1])

            def substitute(load: TensorLoad) -> Any:
                return load if self._field_of(load) is None else symbol

            value = tvm_ffi.structural_map(statement.value, (TensorLoad, substitute))
            return tir.SeqStmt([*steps, _with_value(statement, value)])

        callbacks = [((tir.Bind, tir.BufferStore), decode), (tir.For, end_of_loop)]
        body = tvm_ffi.structural_map(region.body, callbacks)
        if _within_turn(windows):
            self.out_of_turn.append(f"the region of slice {region.value}")
        return tir.SeqStmt([*windows.open(self.starts[region.value]), body])

    def _windows(self, region: tir.AttrStmt) -> LaneWindows | VectorWindows | ThreadWindows:
        """Choose how a region decodes: all lanes at once if it reads so and the unit can."""
        if self.spec.apart:
            return ThreadWindows(region.node, self.lanes, self.stream, self.spec)
        loads = self._loads_of(region, region.body)
        together = all(isinstance(load.indices[1], tir.Ramp) for load in loads)
        unit = self.spec.unit
        if loads and together and unit is not None and decodes_vectors(self.spec):
            tables = [table for _, table in self.sources]
            return VectorWindows(self.stream, self.spec, tables, unit)
        return LaneWindows(self.lanes, self.stream, self.spec)

    def _loads_of(self, region: tir.AttrStmt, node: object) -> list[TensorLoad]:
        """Symbols that ``node`` reads from the stream of ``region``."""
        loads = self._symbol_loads(node)
        if isinstance(region.value, tir.Var) and not self.spec.apart:
            loads = [load for load in loads if _names(load, region.value)]
        return loads


def _copy(source: tir.Buffer, target: tir.Buffer, thread: tir.Expr, threads: int) -> tir.Stmt:
    """Copy a buffer of one axis, every thread its share."""
    size, turn = int(source.ty.shape[0]), tir.Var("turn", "int32")
    place = turn * threads + thread
    store: tir.Stmt = tir.BufferStore(target, source[place], [place])
    if size % threads:
        store = tir.IfThenElse(place < size, store, None)
    return tir.For(turn, 0, -(-size // threads), tir.ForKind.SERIAL, store)


def _within_turn(windows: LaneWindows | VectorWindows | ThreadWindows) -> bool:
    """Whether the reads so far end in the middle of a turn."""
    if isinstance(windows, VectorWindows):
        return bool(windows.reads % windows.turn_reads)
    return windows.within_turn


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
