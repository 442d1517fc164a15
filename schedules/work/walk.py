"""From a scheduled PrimFunc to its nest: loops with how often they run, accesses, operations.

Extents and conditions are evaluated over all passes of the loops that they depend on, from the real
contents of the packed weight: the steps of each slice, the rows that pad the last one. What only
the activations decide is taken as done (an upper bound).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx as tir
from tvm.s_tir import SBlock, SBlockRealize

from dcc.schedules.work.arrays import Evaluator, LoopArray, total_of
from dcc.schedules.work.buffers import Array, Buffers
from dcc.schedules.work.nest import Access, Loop, Nest, Place, hoist
from dcc.schedules.work.reading import ExpressionReader
from dcc.schedules.work.terms import Term, parts, simplified

PASSES = "dcc.passes"
"""Attribute of a ``While``: how often its body runs in one run of the kernel."""
MOST_PARTS = 500
"""Of a term that a name stands for."""
_REDUCTION = 2
"""``IterVar.CommReduce``."""


def read_kernel(function: tir.PrimFunc, data: Mapping[int, Array], register_bytes: float) -> Nest:
    """Read a kernel.

    Parameters
    ----------
    data
        Contents of parameters by their number, where they are constants.
    register_bytes
        Most that a local buffer may have to count as registers.
    """
    walker = _Walker(function, data, register_bytes)
    walker.visit(function.body)
    hoist(walker.nest)
    return walker.nest


class _Walker:
    def __init__(
        self, function: tir.PrimFunc, data: Mapping[int, Array], register_bytes: float
    ) -> None:
        self.loop = Loop(0)
        self.stack: list[tuple[int, LoopArray]] = []
        self.conditions: list[LoopArray] = []
        self.times = 1.0
        self.lengths: dict[int, int] = {}
        self.seen: set[Any] = set()
        self.share = 1.0
        self.threads: dict[str, Term] = {}
        self.passes_of_while: float | None = None
        self.buffers = Buffers(function, data, register_bytes)
        self.nest = Nest(self.loop, self.buffers.places)
        self.reader = ExpressionReader(self.buffers.place_of, self._touch)
        self.evaluator = Evaluator(self.lengths, self.buffers.known)

    # Accesses

    def _touch(self, place: Place, indices: tuple[Term, ...], lanes: int, stores: bool) -> None:
        if place.register:
            return
        # A code generator loads the same element once.
        key = (self.loop.number, place.number, indices)
        if not place.written:
            if key in self.seen:
                return
            self.seen.add(key)
        access = Access(place, indices, lanes, self.times * self.share, stores)
        self.loop.accesses.append(access)

    # Statements

    def visit(self, statement: Any) -> None:
        """Read a statement and all in it."""
        handler = _HANDLERS.get(type(statement))
        if handler is None:
            self._note(f"statements of the kind {type(statement).__name__} are not counted")
            return
        handler(self, statement)

    def _note(self, text: str) -> None:
        if text not in self.nest.notes:
            self.nest.notes.append(text)

    def _value(self, expression: Any) -> Term:
        self.reader.operations.clear()
        term = self.reader.value(expression)
        for kind, count in self.reader.operations.items():
            before = self.nest.operations.get(kind, 0.0)
            self.nest.operations[kind] = before + count * self.times * self.share
        return term

    def _sequence(self, statement: Any) -> None:
        for each in statement.seq:
            self.visit(each)

    def _store(self, statement: Any) -> None:
        self._value(statement.value)
        place = self.buffers.place_of(statement.buffer)
        indices = tuple(self.reader.index(index) for index in statement.indices)
        vector = getattr(statement.value.ty.dtype, "lanes", 1)
        self._touch(place, indices, max(int(vector), 1), True)

    def _evaluate(self, statement: Any) -> None:
        self._value(statement.value)

    def _bind(self, statement: Any) -> None:
        term = self._value(statement.value)
        if sum(1 for _ in islice(parts(term), MOST_PARTS)) == MOST_PARTS:
            term = self.reader.unknown()  # too large to follow into every use
        self.reader.terms[statement.var] = term

    def _let(self, statement: Any) -> None:
        self._bind(statement)
        self.visit(statement.body)

    def _allocate(self, statement: Any) -> None:
        self.buffers.declare(statement.buffer)

    def _alias(self, statement: Any) -> None:
        found: list[Any] = []
        if statement.data is not None:
            tvm_ffi.structural_walk(statement.data, (tir.Var, found.append))
        roots = [self.buffers.place_of(each).root for each in found if self.buffers.knows(each)]
        self.buffers.declare(statement.buffer, root=roots[0] if roots else None)

    def _attribute(self, statement: Any) -> None:
        key = str(statement.attr_key)
        if key in ("thread_extent", "virtual_thread"):
            axis, start = statement.node, tir.const(0, "int32")
            self._thread(axis.var, str(axis.thread_tag), start, statement.value, statement.body)
            return
        if key == PASSES:
            self.passes_of_while = float(int(statement.value))
        self.visit(statement.body)

    def _for(self, statement: Any) -> None:
        bounds = statement.loop_var, statement.min, statement.extent, statement.body
        if statement.thread_binding is None:
            self._loop(*bounds)
        else:
            self._thread(bounds[0], str(statement.thread_binding.thread_tag), *bounds[1:])

    def _thread(self, variable: Any, tag: str, start: Any, extent: Any, body: Any) -> None:
        """Read a loop over threads; inside of one over the same threads it is no other loop."""
        if tag in self.threads:
            self.reader.terms[variable] = self.threads[tag]
            self.visit(body)
            return
        self.threads[tag] = ("loop", len(self.lengths) + 1)
        self._loop(variable, start, extent, body)
        del self.threads[tag]

    def _loop(self, variable: Any, start: Any, extent: Any, body: Any) -> None:
        term = self._value(extent)
        passes = self.evaluator.evaluate(term)
        if passes is None:
            self._note("a loop whose length only the data decide counts as one pass")
            passes = LoopArray((), np.asarray(1))
        passes = LoopArray(passes.loops, np.maximum(passes.values, 0))
        number = len(self.lengths) + 1
        self.lengths[number] = int(passes.values.max(initial=0))
        counter = simplified("add", ("loop", number), self.reader.index(start))
        self.reader.terms[variable] = 0 if self.lengths[number] == 1 else counter
        self.stack.append((number, passes))
        self._inside(number, lambda: self.visit(body))
        self.stack.pop()

    def _inside(self, number: int, visit: Callable[[], None]) -> None:
        """Read the body of a loop that is on the stack already."""
        outer, before, seen = self.loop, self.times, self.seen
        self.times = self._executions()
        self.loop = Loop(number, outer, before, self.times)
        outer.children.append(self.loop)
        self.seen = set()
        if self.times:
            visit()
        self.loop, self.times, self.seen = outer, before, seen

    def _while(self, statement: Any) -> None:
        number = len(self.lengths) + 1
        self.lengths[number] = 1
        passes, self.passes_of_while = self.passes_of_while, None
        if passes is None:
            self._note("a 'while' whose length only the data decide counts as one pass")
            passes = self.times
        share = passes / self.times if self.times else 0.0
        self.stack.append((number, LoopArray((), np.asarray(share))))

        def visit() -> None:
            self._value(statement.condition)
            self.visit(statement.body)

        self._inside(number, visit)
        self.stack.pop()

    def _if(self, statement: Any) -> None:
        condition = self._value(statement.condition)
        self._guarded(self._factors(condition), lambda: self.visit(statement.then_case))
        if statement.else_case is not None:
            otherwise = self._factors(("not", condition))
            self._guarded(otherwise, lambda: self.visit(statement.else_case))

    def _factors(self, condition: Term) -> list[LoopArray]:
        """Split a condition into what the number of executions is multiplied with."""
        if isinstance(condition, tuple) and condition[0] == "and":
            return [*self._factors(condition[1]), *self._factors(condition[2])]
        found = self.evaluator.evaluate(condition)
        return [] if found is None else [LoopArray(found.loops, found.values.astype(np.float64))]

    def _guarded(self, factors: Sequence[LoopArray], visit: Callable[[], None]) -> None:
        before = self.times
        self.conditions += factors
        if factors:
            self.times = min(self._executions(), before)
        if self.times:
            visit()
        self.times = before
        del self.conditions[len(self.conditions) - len(factors) :]

    def _executions(self) -> float:
        """How often a statement runs inside of the loops and conditions at hand."""
        axes = {loop for each in self.conditions for loop in each.loops}
        axes |= {loop for _, passes in self.stack for loop in passes.loops}
        factors = list(self.conditions)
        for number, passes in self.stack:
            if number not in axes:
                factors.append(passes)
                continue
            counter = np.arange(self.lengths[number])
            loops = (*passes.loops, number)
            inside = counter < passes.values[..., None]
            # Axes are in ascending order, and an inner loop has a higher number.
            factors.append(LoopArray(loops, inside.astype(np.float64)))
        total = total_of(factors)
        if total is None:
            self._note("conditions over too many loops count as true")
            total = total_of([passes for _, passes in self.stack])
        return 0.0 if total is None else total

    # Blocks of TVM's schedules

    def _realize(self, statement: Any) -> None:
        block = statement.block
        reduced = 1.0
        for variable, value in zip(block.iter_vars, statement.iter_values, strict=True):
            self.reader.terms[variable.var] = self.reader.index(value)
            if int(variable.iter_type) == _REDUCTION:
                extent = variable.dom.extent
                reduced *= int(extent) if isinstance(extent, tir.IntImm) else 1
        for buffer in block.alloc_buffers:
            self.buffers.declare(buffer)
        for match in block.match_buffers:
            self.buffers.declare(match.buffer, root=self.buffers.place_of(match.source.buffer).root)
        factors = self._factors(self.reader.value(statement.predicate))
        self.reader.operations.clear()

        def visit() -> None:
            if block.init is not None:
                self.share = 1.0 / reduced
                self.visit(block.init)
                self.share = 1.0
            self.visit(block.body)

        self._guarded(factors, visit)

    def _nothing(self, _statement: Any) -> None:
        """Pass over what neither computes nor moves anything."""


_HANDLERS: dict[type, Callable[[_Walker, Any], None]] = {
    tir.SeqStmt: _Walker._sequence,
    tir.BufferStore: _Walker._store,
    tir.Evaluate: _Walker._evaluate,
    tir.Bind: _Walker._bind,
    tir.AllocBuffer: _Walker._allocate,
    tir.DeclBuffer: _Walker._alias,
    tir.AttrStmt: _Walker._attribute,
    tir.For: _Walker._for,
    tir.While: _Walker._while,
    tir.IfThenElse: _Walker._if,
    tir.AssertStmt: _Walker._nothing,
    SBlockRealize: _Walker._realize,
    SBlock: _Walker._nothing,
}
if tir.LetStmt is not tir.Bind:
    _HANDLERS[tir.LetStmt] = _Walker._let
