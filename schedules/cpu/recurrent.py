"""The recurrences of LSTM and GRU over a compressed gate matrix: one kernel that loops over time.

The matrix is in any storage form, its rows in lockstep as in ``rows``:

    for each time step:
        gates = recurrence @ hidden
        hidden, cell = cell functions of gates + projected[step]
"""

from __future__ import annotations

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.codegen.vector_units import VectorUnit
from dcc.schedules.cpu.cells import Cells, each_cells
from dcc.schedules.cpu.product import emit_product, make_reader
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.recurrence import FLOAT, Recurrence
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, argument, bind


def _copy(target: tir.Buffer, source: tir.Buffer, sizes: Recurrence) -> None:
    with T.grid(sizes.batch, sizes.hidden) as (sample, unit):
        T.buffer_store(target, source[sample, unit], [sample, unit])


def _product(
    reader: WeightReader,
    vector: tir.Buffer,
    out: tir.Buffer,
    sizes: Recurrence,
    slices: tuple[int, int] | None = None,
) -> None:
    """``out[sample, row] = sum over units of recurrence[row, unit] * vector[sample, unit]``."""
    packed = reader.packed
    emit_product(
        reader,
        sizes.batch,
        vector,
        lambda sample, row, total: T.buffer_store(out, total, [sample, row]),
        parallel=worth_parallel(packed.steps * packed.lanes * sizes.batch / 4),
        slices=slices,
    )


def lstm(
    packed: PackedWeight,
    sizes: Recurrence,
    *,
    input_forget: bool,
    vectors: VectorUnit | None = None,
) -> tir.PrimFunc:
    """Kernel of an LSTM, gates i, o, f, c (ONNX operator LSTM).

    Parameters of the kernel: projected (T, B, 4 H), initial hidden and cell (B, H), the packed
    arrays, then all hidden states (T, B, H), the last hidden and the last cell state (B, H).
    """
    n = sizes.hidden
    reader = make_reader(packed, sizes.batch, FLOAT, FLOAT, vectors)
    state = (sizes.batch, n)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("lstm")
        projected = argument("projected", (sizes.steps, sizes.batch, 4 * n), FLOAT)
        first_hidden = argument("initial_hidden", state, FLOAT)
        first_cell = argument("initial_cell", state, FLOAT)
        reader.declare()
        every = argument("every_hidden", (sizes.steps, sizes.batch, n), FLOAT)
        hidden = argument("hidden", state, FLOAT)
        cell = argument("cell", state, FLOAT)
        gates = allocate("gates", (sizes.batch, 4 * n), FLOAT, "global")
        _copy(hidden, first_hidden, sizes)
        _copy(cell, first_cell, sizes)
        with T.serial(0, sizes.steps) as step:
            place = bind("place", sizes.place(step))
            _product(reader, hidden, gates, sizes)

            def update(cells: Cells) -> None:
                sample, here = cells.sample, cells.at()

                def gate(index: int) -> Expr:
                    at = cells.at(index * n)
                    return gates[sample, at] + projected[place, sample, at]

                into = cells.name("input_gate", cells.sigmoid(gate(0)))
                out = cells.name("output_gate", cells.sigmoid(gate(1)))
                keep = cells.one_minus(into) if input_forget else cells.sigmoid(gate(2))
                new_cell = keep * cell[sample, here] + into * cells.tanh(gate(3))
                new_cell = cells.name("new_cell", new_cell)
                new_hidden = cells.name("new_hidden", out * cells.tanh(new_cell))
                T.buffer_store(cell, new_cell, [sample, here])
                T.buffer_store(hidden, new_hidden, [sample, here])
                T.buffer_store(every, new_hidden, [place, sample, here])

            each_cells(sizes.batch, n, vectors, update)
    return builder.get()


def gru(
    packed: PackedWeight,
    sizes: Recurrence,
    *,
    linear_before_reset: bool,
    vectors: VectorUnit | None = None,
) -> tir.PrimFunc:
    """Kernel of a GRU, gates z, r, h (ONNX operator GRU).

    Parameters of the kernel: projected (T, B, 3 H), recurrent bias (3 H), initial hidden (B, H),
    the packed arrays, then all hidden states (T, B, H) and the last one (B, H).
    """
    n = sizes.hidden
    reader = make_reader(packed, sizes.batch, FLOAT, FLOAT, vectors)
    state = (sizes.batch, n)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("gru")
        projected = argument("projected", (sizes.steps, sizes.batch, 3 * n), FLOAT)
        bias = argument("recurrent_bias", (3 * n,), FLOAT)
        first_hidden = argument("initial_hidden", state, FLOAT)
        reader.declare()
        every = argument("every_hidden", (sizes.steps, sizes.batch, n), FLOAT)
        hidden = argument("hidden", state, FLOAT)
        gates = allocate("gates", (sizes.batch, 3 * n), FLOAT, "global")
        reset_hidden = allocate("reset_hidden", state, FLOAT, "global")
        _copy(hidden, first_hidden, sizes)
        with T.serial(0, sizes.steps) as step:
            place = bind("place", sizes.place(step))

            def gate(cells: Cells, index: int) -> Expr:
                at = cells.at(index * n)
                return gates[cells.sample, at] + projected[place, cells.sample, at] + bias[at]

            def reset(cells: Cells) -> None:
                old = hidden[cells.sample, cells.at()]
                kept = cells.sigmoid(gate(cells, 1)) * old
                T.buffer_store(reset_hidden, kept, [cells.sample, cells.at()])

            def update(cells: Cells) -> None:
                sample, here = cells.sample, cells.at()
                share = cells.name("update_gate", cells.sigmoid(gate(cells, 0)))
                if linear_before_reset:
                    at = cells.at(2 * n)
                    kept = cells.name("reset_gate", cells.sigmoid(gate(cells, 1)))
                    inner = projected[place, sample, at] + kept * (gates[sample, at] + bias[at])
                else:
                    inner = gate(cells, 2)
                candidate = cells.name("candidate", cells.tanh(inner))
                old = hidden[sample, here]
                new = cells.one_minus(share) * candidate + share * old
                new_hidden = cells.name("new_hidden", new)
                T.buffer_store(hidden, new_hidden, [sample, here])
                T.buffer_store(every, new_hidden, [place, sample, here])

            _product(reader, hidden, gates, sizes)
            if not linear_before_reset:
                each_cells(sizes.batch, n, vectors, reset)
                _candidate_product(reader, reset_hidden, gates, sizes)
            each_cells(sizes.batch, n, vectors, update)
    return builder.get()


def _candidate_product(
    reader: WeightReader, vector: tir.Buffer, gates: tir.Buffer, sizes: Recurrence
) -> None:
    """Product of the candidate gate's rows alone.

    A slice that it shares with the reset gate must not touch that one.
    """
    packed, first = reader.packed, 2 * sizes.hidden

    def store(sample: Expr, row: Expr, total: Expr) -> None:
        with T.If(row >= first), T.Then():
            T.buffer_store(gates, total, [sample, row])

    emit_product(
        reader,
        sizes.batch,
        vector,
        store,
        parallel=worth_parallel(packed.steps * packed.lanes * sizes.batch / 12),
        slices=(first // packed.lanes, packed.slices),
    )
