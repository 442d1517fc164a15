"""The recurrences of LSTM and GRU over a compressed gate matrix: one block that loops over time.

The threads of the block share the rows of the matrix out, each decoding whole rows, and meet at a
barrier before the cells are updated: steps depend on each other, and blocks could not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cuda.blocks import assign, barrier, each, launch, variable
from dcc.schedules.recurrence import FLOAT, Recurrence
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, argument, bind
from dcc.targets.target import Gpu


def lstm(packed: PackedWeight, sizes: Recurrence, *, input_forget: bool, gpu: Gpu) -> tir.PrimFunc:
    """Kernel of an LSTM; parameters as those of ``schedules.cpu.recurrent.lstm``."""
    n = sizes.hidden
    reader = WeightReader(packed, FLOAT)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("lstm")
        projected = argument("projected", (sizes.steps, sizes.batch, 4 * n), FLOAT)
        first_hidden = argument("initial_hidden", (sizes.batch, n), FLOAT)
        first_cell = argument("initial_cell", (sizes.batch, n), FLOAT)
        reader.declare()
        every = argument("every_hidden", (sizes.steps, sizes.batch, n), FLOAT)
        hidden = argument("hidden", (sizes.batch, n), FLOAT)
        cell = argument("cell", (sizes.batch, n), FLOAT)
        with _Block(sizes, 4, gpu) as block:
            block.copy(first_hidden, hidden, first_cell, cell)
            with T.serial(0, sizes.steps) as step:
                place = bind("place", sizes.place(step))
                block.product(reader)

                def update(sample: Expr, unit: Expr) -> None:
                    def gate(index: int) -> Expr:
                        row = unit + index * n
                        return block.gate(sample, row) + projected[place, sample, row]

                    into = bind("input_gate", tir.sigmoid(gate(0)))
                    out = bind("output_gate", tir.sigmoid(gate(1)))
                    one = tir.const(1, FLOAT)
                    keep = one - into if input_forget else tir.sigmoid(gate(2))
                    new = keep * cell[sample, unit] + into * tir.tanh(gate(3))
                    new_cell = bind("new_cell", new)
                    new_hidden = bind("new_hidden", out * tir.tanh(new_cell))
                    T.buffer_store(cell, new_cell, [sample, unit])
                    T.buffer_store(hidden, new_hidden, [sample, unit])
                    T.buffer_store(every, new_hidden, [place, sample, unit])
                    block.remember(sample, unit, new_hidden)

                block.cells(update)
    return builder.get()


def gru(
    packed: PackedWeight, sizes: Recurrence, *, linear_before_reset: bool, gpu: Gpu
) -> tir.PrimFunc:
    """Kernel of a GRU; parameters as those of ``schedules.cpu.recurrent.gru``."""
    n = sizes.hidden
    reader = WeightReader(packed, FLOAT)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("gru")
        projected = argument("projected", (sizes.steps, sizes.batch, 3 * n), FLOAT)
        bias = argument("recurrent_bias", (3 * n,), FLOAT)
        first_hidden = argument("initial_hidden", (sizes.batch, n), FLOAT)
        reader.declare()
        every = argument("every_hidden", (sizes.steps, sizes.batch, n), FLOAT)
        hidden = argument("hidden", (sizes.batch, n), FLOAT)
        with _Block(sizes, 3, gpu) as block:
            block.copy(first_hidden, hidden)
            with T.serial(0, sizes.steps) as step:
                place = bind("place", sizes.place(step))

                def gate(sample: Expr, unit: Expr, index: int) -> Expr:
                    row = unit + index * n
                    return block.gate(sample, row) + projected[place, sample, row] + bias[row]

                def reset(sample: Expr, unit: Expr) -> None:
                    kept = tir.sigmoid(gate(sample, unit, 1)) * hidden[sample, unit]
                    block.remember(sample, unit, kept)

                def update(sample: Expr, unit: Expr) -> None:
                    share = bind("update_gate", tir.sigmoid(gate(sample, unit, 0)))
                    if linear_before_reset:
                        row = unit + 2 * n
                        kept = bind("reset_gate", tir.sigmoid(gate(sample, unit, 1)))
                        inner = block.gate(sample, row) + bias[row]
                        inner = projected[place, sample, row] + kept * inner
                    else:
                        inner = gate(sample, unit, 2)
                    candidate = bind("candidate", tir.tanh(inner))
                    one = tir.const(1, FLOAT)
                    new = (one - share) * candidate + share * hidden[sample, unit]
                    new_hidden = bind("new_hidden", new)
                    T.buffer_store(hidden, new_hidden, [sample, unit])
                    T.buffer_store(every, new_hidden, [place, sample, unit])
                    block.remember(sample, unit, new_hidden)

                if linear_before_reset:
                    block.product(reader)
                else:
                    block.product(reader, (0, 2 * n))
                    block.cells(reset)
                    block.product(reader, (2 * n, 3 * n))
                block.cells(update)
    return builder.get()


class _Block:
    """One block of threads and what it keeps from step to step."""

    def __init__(self, sizes: Recurrence, gates: int, gpu: Gpu) -> None:
        self.sizes = sizes
        self.rows = gates * sizes.hidden
        whole = -(-self.rows // gpu.warp) * gpu.warp
        self.threads = min(max(whole, gpu.warp), gpu.block_threads)
        floats = sizes.batch * (self.rows + sizes.hidden)
        self.scope = "shared" if 4 * floats <= gpu.shared_bytes else "global"

    def __enter__(self) -> _Block:
        sizes = self.sizes
        lengths = {"state": sizes.batch * sizes.hidden, "gates": sizes.batch * self.rows}
        if self.scope == "global":
            self.buffers = {
                k: allocate(k, (max(n, 1),), FLOAT, "global") for k, n in lengths.items()
            }
        self.launch = launch(1, self.threads)
        _, self.thread = self.launch.__enter__()
        if self.scope == "shared":
            self.buffers = {
                k: allocate(k, (max(n, 1),), FLOAT, "shared") for k, n in lengths.items()
            }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.launch.__exit__(kind, error, trace)

    def copy(self, *pairs: tir.Buffer) -> None:
        """Copy initial states to the states; the first one is the hidden state."""
        sources, targets = pairs[::2], pairs[1::2]

        def each_state(sample: Expr, unit: Expr) -> None:
            for source, target in zip(sources, targets, strict=True):
                T.buffer_store(target, source[sample, unit], [sample, unit])
            self.remember(sample, unit, sources[0][sample, unit])

        self.cells(each_state)

    def cells(self, body: Callable[[Expr, Expr], None]) -> None:
        """Emit ``body(sample, unit)`` for each cell, and a barrier."""
        hidden = self.sizes.hidden
        with each(self.sizes.batch * hidden, self.thread, self.threads) as place:
            body(tir.floordiv(place, hidden), tir.floormod(place, hidden))
        barrier()

    def gate(self, sample: Expr, row: Expr) -> Expr:
        """Sum of a row of the matrix."""
        return self.buffers["gates"][sample * self.rows + row]

    def remember(self, sample: Expr, unit: Expr, value: Expr) -> None:
        """Keep what the next product multiplies."""
        assign(self.buffers["state"], value, sample * self.sizes.hidden + unit)

    def product(self, reader: WeightReader, rows: tuple[int, int] | None = None) -> None:
        """Multiply rows of the matrix with the kept vectors; a barrier follows."""
        first, last = rows if rows is not None else (0, self.rows)
        batch, hidden = self.sizes.batch, self.sizes.hidden
        with each(last - first, self.thread, self.threads) as place:
            row = bind("row", place + first)
            sums = allocate("sums", (batch,), FLOAT)
            for sample in range(batch):
                assign(sums, 0.0, sample)
            column = variable("column", "int32", -1)
            with (
                reader.stream(row),
                T.serial(0, reader.steps(row)) as step,
                reader.each_lane(row, step) as (_lane, gap, value),
            ):
                assign(column, column[0] + gap + 1)
                at = bind("at", tir.min(column[0], hidden - 1))
                for sample in range(batch):
                    term = value * self.buffers["state"][at + sample * hidden]
                    assign(sums, sums[sample] + term, sample)
            for sample in range(batch):
                assign(self.buffers["gates"], sums[sample], row + sample * self.rows)
        barrier()
