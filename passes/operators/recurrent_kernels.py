"""PrimFuncs of the plain recurrences: a loop over time inside, nothing unrolled.

Plain code for an ordinary float32 gate matrix; the kernels that read a coded one are in
``dcc.schedules``.
"""

from __future__ import annotations

from tvm import tirx
from tvm.script import tirx as T

LANES = 16
"""Partial sums of a dot product, so that LLVM may use vectors without reordering a sum itself."""


def lstm_kernel(
    steps: int, batch: int, hidden: int, reverse: bool, input_forget: bool
) -> tirx.PrimFunc:
    """Kernel of ``relax.dcc.lstm``: projected, recurrence, h0, c0 -> all h, last h, last c."""
    gates = 4 * hidden

    @T.prim_func(private=True)
    def kernel(
        projected: T.Buffer((steps, batch, gates), "float32"),
        recurrence: T.Buffer((gates, hidden), "float32"),
        initial_hidden: T.Buffer((batch, hidden), "float32"),
        initial_cell: T.Buffer((batch, hidden), "float32"),
        states: T.Buffer((steps, batch, hidden), "float32"),
        last_hidden: T.Buffer((batch, hidden), "float32"),
        last_cell: T.Buffer((batch, hidden), "float32"),
    ) -> None:
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        gate = T.alloc_buffer((gates,), "float32")
        partial = T.alloc_buffer((LANES,), "float32")
        for row, unit in T.grid(batch, hidden):
            last_hidden[row, unit] = initial_hidden[row, unit]
            last_cell[row, unit] = initial_cell[row, unit]
        for count, row in T.grid(steps, batch):
            step = steps - 1 - count if reverse else count
            for output in range(gates):
                for lane in range(LANES):
                    partial[lane] = T.float32(0)
                for block, lane in T.grid(hidden // LANES, LANES):
                    partial[lane] = (
                        partial[lane]
                        + last_hidden[row, block * LANES + lane]
                        * recurrence[output, block * LANES + lane]
                    )
                for rest in range(hidden % LANES):
                    partial[0] = (
                        partial[0]
                        + last_hidden[row, hidden // LANES * LANES + rest]
                        * recurrence[output, hidden // LANES * LANES + rest]
                    )
                gate[output] = projected[step, row, output]
                for lane in range(LANES):
                    gate[output] = gate[output] + partial[lane]
            for unit in range(hidden):
                last_cell[row, unit] = (
                    T.float32(1) - T.sigmoid(gate[unit])
                    if input_forget
                    else T.sigmoid(gate[2 * hidden + unit])
                ) * last_cell[row, unit] + T.sigmoid(gate[unit]) * T.tanh(gate[3 * hidden + unit])
                last_hidden[row, unit] = T.sigmoid(gate[hidden + unit]) * T.tanh(
                    last_cell[row, unit]
                )
                states[step, row, unit] = last_hidden[row, unit]

    return kernel


def gru_kernel(
    steps: int, batch: int, hidden: int, reverse: bool, linear_before_reset: bool
) -> tirx.PrimFunc:
    """Kernel of ``relax.dcc.gru``: projected, recurrence, its bias, h0 -> all h, last h."""
    gates = 3 * hidden

    @T.prim_func(private=True)
    def kernel(
        projected: T.Buffer((steps, batch, gates), "float32"),
        recurrence: T.Buffer((gates, hidden), "float32"),
        recurrence_bias: T.Buffer((gates,), "float32"),
        initial_hidden: T.Buffer((batch, hidden), "float32"),
        states: T.Buffer((steps, batch, hidden), "float32"),
        last_hidden: T.Buffer((batch, hidden), "float32"),
    ) -> None:
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        gate = T.alloc_buffer((gates,), "float32")
        # What multiplies the matrix: h for z and r; for the candidate h, or r * h.
        factor = T.alloc_buffer((hidden,), "float32")
        partial = T.alloc_buffer((LANES,), "float32")
        for row, unit in T.grid(batch, hidden):
            last_hidden[row, unit] = initial_hidden[row, unit]
        for count, row in T.grid(steps, batch):
            step = steps - 1 - count if reverse else count
            for unit in range(hidden):
                factor[unit] = last_hidden[row, unit]
            for output in range(gates):
                if output == 2 * hidden:
                    for unit in range(2 * hidden):
                        gate[unit] = T.sigmoid(gate[unit] + projected[step, row, unit])
                    if not linear_before_reset:
                        for unit in range(hidden):
                            factor[unit] = gate[hidden + unit] * factor[unit]
                for lane in range(LANES):
                    partial[lane] = T.float32(0)
                for block, lane in T.grid(hidden // LANES, LANES):
                    partial[lane] = (
                        partial[lane]
                        + factor[block * LANES + lane] * recurrence[output, block * LANES + lane]
                    )
                for rest in range(hidden % LANES):
                    partial[0] = (
                        partial[0]
                        + factor[hidden // LANES * LANES + rest]
                        * recurrence[output, hidden // LANES * LANES + rest]
                    )
                gate[output] = recurrence_bias[output]
                for lane in range(LANES):
                    gate[output] = gate[output] + partial[lane]
            for unit in range(hidden):
                last_hidden[row, unit] = (T.float32(1) - gate[unit]) * T.tanh(
                    projected[step, row, 2 * hidden + unit]
                    + (
                        gate[hidden + unit] * gate[2 * hidden + unit]
                        if linear_before_reset
                        else gate[2 * hidden + unit]
                    )
                ) + gate[unit] * last_hidden[row, unit]
                states[step, row, unit] = last_hidden[row, unit]

    return kernel
