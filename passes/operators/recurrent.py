"""``relax.dcc.lstm`` and ``relax.dcc.gru``: a recurrence over all steps of time.

The input projection ``x @ W.T + bias`` is an ordinary matmul over all steps before it, so that only
the part that is truly sequential is left here (ONNX operators LSTM and GRU, gate orders i, o, f, c
and z, r, h). T steps, B sequences, H units; everything is float32 and static.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax
from tvm.ir import Call

from dcc.passes.operators.recurrent_kernels import gru_kernel, lstm_kernel
from dcc.passes.operators.registration import call_operator, register_operator

PROJECTED = ("projected", "float32 [T, B, gates * H], x @ W.T plus the input bias")
RECURRENCE = ("recurrence", "float32 [gates * H, H], the recurrent gate matrix R")
INITIAL_HIDDEN = ("initial_hidden", "float32 [B, H]")


def lstm(
    projected: relax.Expr,
    recurrence: relax.Expr,
    initial_hidden: relax.Expr,
    initial_cell: relax.Expr,
    reverse: int = 0,
    input_forget: int = 0,
) -> relax.Expr:
    """Call of ``relax.dcc.lstm``.

    Parameters
    ----------
    projected
        [T, B, 4 H]: ``x @ W.T + Wb + Rb``, gates in the order i, o, f, c.
    recurrence
        [4 H, H].
    initial_hidden, initial_cell
        [B, H].
    reverse
        1: run from the last step to the first; outputs stay at the place of their input.
    input_forget
        1: the forget gate is ``1 - i``.

    Returns
    -------
    relax.Expr
        Tuple of all hidden states [T, B, H], the last hidden state [B, H] and the last cell state
        [B, H].
    """
    inputs = [projected, recurrence, initial_hidden, initial_cell]
    return call_operator("lstm", inputs, reverse=int(reverse), input_forget=int(input_forget))


def gru(
    projected: relax.Expr,
    recurrence: relax.Expr,
    recurrence_bias: relax.Expr,
    initial_hidden: relax.Expr,
    reverse: int = 0,
    linear_before_reset: int = 0,
) -> relax.Expr:
    """Call of ``relax.dcc.gru``.

    Parameters
    ----------
    projected
        [T, B, 3 H]: ``x @ W.T + Wb``, gates in the order z, r, h.
    recurrence
        [3 H, H].
    recurrence_bias
        [3 H]; apart from the projection because ``linear_before_reset`` multiplies it by the reset
        gate.
    initial_hidden
        [B, H].
    reverse
        1: run from the last step to the first; outputs stay at the place of their input.
    linear_before_reset
        1: the reset gate multiplies ``h @ R.T + bias`` instead of ``h``.

    Returns
    -------
    relax.Expr
        Tuple of all hidden states [T, B, H] and the last hidden state [B, H].
    """
    return call_operator(
        "gru",
        [projected, recurrence, recurrence_bias, initial_hidden],
        reverse=int(reverse),
        linear_before_reset=int(linear_before_reset),
    )


def recurrence_sizes(call: Call, gates: int) -> tuple[int, int, int]:
    """Give the static (T, B, H) of a recurrence, its inputs checked.

    Raises
    ------
    TypeError
        If an input's shape or element type does not fit.
    """
    steps, batch, width = _shape(call, 0, 3)
    hidden = width // gates
    expected: list[tuple[int, ...]] = [(steps, batch, gates * hidden), (gates * hidden, hidden)]
    if gates == 3:
        expected.append((3 * hidden,))
    expected += [(batch, hidden)] * (len(call.args) - len(expected))
    for index, shape in enumerate(expected):
        given = _shape(call, index, len(shape))
        if given != shape:
            raise TypeError(f"{call.op.name}: input {index} is {given}, expected {shape}")
    return steps, batch, hidden


def _shape(call: Call, index: int, rank: int) -> tuple[int, ...]:
    kind = call.args[index].ty
    if not isinstance(kind, relax.TensorType) or kind.shape is None or kind.ndim != rank:
        raise TypeError(f"{call.op.name}: input {index} must be a tensor of rank {rank}")
    if str(kind.dtype.dtype) != "float32":
        raise TypeError(f"{call.op.name}: input {index} must be float32, got {kind.dtype.dtype}")
    return tuple(int(size) for size in kind.shape)


def recurrence_types(sizes: tuple[int, int, int], states: int) -> list[relax.TensorType]:
    """Types of the outputs: all hidden states, then ``states`` last states."""
    steps, batch, hidden = sizes
    last = relax.TensorType((batch, hidden), "float32")
    return [relax.TensorType((steps, batch, hidden), "float32")] + [last] * states


def _infer_lstm(call: Call, _builder: relax.BlockBuilder) -> relax.Type:
    return relax.TupleType(recurrence_types(recurrence_sizes(call, 4), 2))


def _infer_gru(call: Call, _builder: relax.BlockBuilder) -> relax.Type:
    return relax.TupleType(recurrence_types(recurrence_sizes(call, 3), 1))


def _legalize_lstm(builder: relax.BlockBuilder, call: Call) -> relax.Expr:
    sizes = recurrence_sizes(call, 4)
    kernel = lstm_kernel(*sizes, bool(call.attrs["reverse"]), bool(call.attrs["input_forget"]))
    return _call(builder, kernel, "lstm", call.args, recurrence_types(sizes, 2))


def _legalize_gru(builder: relax.BlockBuilder, call: Call) -> relax.Expr:
    sizes = recurrence_sizes(call, 3)
    before_reset = bool(call.attrs["linear_before_reset"])
    kernel = gru_kernel(*sizes, bool(call.attrs["reverse"]), before_reset)
    return _call(builder, kernel, "gru", call.args, recurrence_types(sizes, 1))


def _call(
    builder: relax.BlockBuilder,
    kernel: tvm.ir.BaseFunc,
    name: str,
    inputs: Sequence[relax.Expr],
    outputs: list[relax.TensorType],
) -> relax.Expr:
    return relax.call_tir(builder.add_func(kernel, name), list(inputs), out_ty=outputs)


register_operator(
    "lstm",
    "The recurrence of an LSTM over projected inputs.",
    [PROJECTED, RECURRENCE, INITIAL_HIDDEN, ("initial_cell", "float32 [B, H]")],
    _infer_lstm,
    lstm,
    _legalize_lstm,
)
register_operator(
    "gru",
    "The recurrence of a GRU over projected inputs.",
    [PROJECTED, RECURRENCE, ("recurrence_bias", "float32 [3 H]"), INITIAL_HIDDEN],
    _infer_gru,
    gru,
    _legalize_gru,
)
