"""The recurrences of LSTM and GRU over a compressed gate matrix: one kernel that loops over time.

The matrix is in any storage form, its rows in lockstep as in ``rows``:

    for each time step:
        gates = recurrence @ hidden
        hidden, cell = cell functions of gates + projected[step]
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.codegen.vector_units import VectorUnit
from dcc.schedules.cpu.product import emit_product, make_reader
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.cpu.weight_reader import Expr, WeightReader, allocate, argument, bind

FLOAT = "float32"


@dataclass(frozen=True)
class Recurrence:
    """Sizes of a recurrence: ``steps`` T, ``batch`` B, ``hidden`` H.

    ``reverse`` runs from the last step.
    """

    steps: int
    batch: int
    hidden: int
    reverse: bool = False

    def place(self, step: Expr) -> Expr:
        """Time step that is run as number ``step``."""
        return self.steps - 1 - step if self.reverse else step


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
            with T.grid(sizes.batch, n) as (sample, unit):

                def gate(index: int) -> Expr:
                    at = index * n + unit
                    return gates[sample, at] + projected[place, sample, at]

                into = bind("input_gate", tir.sigmoid(gate(0)))
                out = bind("output_gate", tir.sigmoid(gate(1)))
                keep = 1.0 - into if input_forget else tir.sigmoid(gate(2))
                new_cell = bind("new_cell", keep * cell[sample, unit] + into * tir.tanh(gate(3)))
                new_hidden = bind("new_hidden", out * tir.tanh(new_cell))
                T.buffer_store(cell, new_cell, [sample, unit])
                T.buffer_store(hidden, new_hidden, [sample, unit])
                T.buffer_store(every, new_hidden, [place, sample, unit])
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

            def gate(sample: Expr, unit: Expr, index: int) -> Expr:
                at = index * n + unit
                return gates[sample, at] + projected[place, sample, at] + bias[at]

            _product(reader, hidden, gates, sizes)
            if not linear_before_reset:
                with T.grid(sizes.batch, n) as (sample, unit):
                    reset = tir.sigmoid(gate(sample, unit, 1)) * hidden[sample, unit]
                    T.buffer_store(reset_hidden, reset, [sample, unit])
                _candidate_product(reader, reset_hidden, gates, sizes)
            with T.grid(sizes.batch, n) as (sample, unit):
                update = bind("update_gate", tir.sigmoid(gate(sample, unit, 0)))
                if linear_before_reset:
                    at = 2 * n + unit
                    reset = bind("reset_gate", tir.sigmoid(gate(sample, unit, 1)))
                    inner = projected[place, sample, at] + reset * (gates[sample, at] + bias[at])
                else:
                    inner = gate(sample, unit, 2)
                candidate = bind("candidate", tir.tanh(inner))
                old = hidden[sample, unit]
                new_hidden = bind("new_hidden", (1.0 - update) * candidate + update * old)
                T.buffer_store(hidden, new_hidden, [sample, unit])
                T.buffer_store(every, new_hidden, [place, sample, unit])
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
