"""LSTM and GRU: the input projection as one matmul over all steps, the recurrence as one operator.

TVM 0.27 has neither. Gate matrices stay parameters: ``W[d]`` is ``squeeze(W)`` for one direction
and ``squeeze(strided_slice(W))`` for two.
"""

from __future__ import annotations

import numpy as np
from tvm import relax

from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation, constant
from dcc.passes.operators import gru, lstm

_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh")}
_DIRECTIONS = {"forward": (0,), "reverse": (1,), "bidirectional": (0, 1)}


@converter("LSTM")
def convert_lstm(operation: Operation) -> list[relax.Expr]:
    """Give the outputs Y, Y_h and Y_c of an ONNX LSTM."""
    return _Recurrence(operation, gates=4, states=2).outputs()


@converter("GRU")
def convert_gru(operation: Operation) -> list[relax.Expr]:
    """Give the outputs Y and Y_h of an ONNX GRU."""
    return _Recurrence(operation, gates=3, states=1).outputs()


class _Recurrence:
    """One LSTM or GRU node; T steps, B sequences, D directions, H units."""

    def __init__(self, operation: Operation, gates: int, states: int) -> None:
        self.operation, self.gates, self.states = operation, gates, states
        self.batch_first = operation.attribute("layout", 0) == 1
        direction = operation.attribute("direction", "forward")
        if direction not in _DIRECTIONS:
            raise operation.error(f"direction '{direction}' is not one that ONNX knows")
        self.reverse = _DIRECTIONS[direction]
        first, second = operation.shape(0)[:2]
        self.steps, self.batch = (second, first) if self.batch_first else (first, second)
        self.hidden = operation.shape(2)[2]
        self.dtype = operation.dtype()
        self._check()

    def _check(self) -> None:
        operation = self.operation
        if self.dtype not in ("float32", "float16"):
            raise operation.error(f"expected float32 or float16, got {self.dtype}")
        expected = (len(self.reverse), self.gates * self.hidden)
        if operation.shape(1)[:2] != expected:
            raise operation.error(
                f"W has the shape {operation.shape(1)}; for {len(self.reverse)} direction(s) of "
                f"{self.hidden} units it starts with {expected}"
            )
        activations = operation.attribute("activations")
        wanted = _ACTIVATIONS[operation.node.operator] * len(self.reverse)
        if activations and tuple(a.decode().lower() for a in activations) != wanted:
            given = ", ".join(a.decode() for a in activations)
            raise operation.error(
                f"attribute 'activations' ({given}) is not supported, only sigmoid and tanh in "
                "their usual places"
            )
        if operation.attribute("clip"):
            raise operation.error("attribute 'clip' is not supported")
        self._check_lengths()
        if operation.has(7):
            peepholes = operation.known(7)
            if peepholes is None or np.any(peepholes):
                raise operation.error("peepholes (input 'P') are not supported")

    def _check_lengths(self) -> None:
        if not self.operation.has(4):
            return
        lengths = self.operation.known(4)
        if lengths is None or np.any(lengths != self.steps):
            raise self.operation.error(
                f"input 'sequence_lens' is supported only as a constant {self.steps} (the full "
                "length) for every sequence"
            )

    def outputs(self) -> list[relax.Expr]:
        """All hidden states and the last states of every direction, in ONNX's layout."""
        emit = self.operation.emit
        data = self._float32(self.operation.tensor(0))
        if self.batch_first:
            data = emit(relax.op.permute_dims(data, [1, 0, 2]))
        directions = [self._direction(data, index) for index in range(len(self.reverse))]
        results = []
        for index in range(1 + self.states):
            axis = 1 if index == 0 else 0
            parts = [emit(relax.op.expand_dims(d[index], [axis])) for d in directions]
            whole = parts[0] if len(parts) == 1 else emit(relax.op.concat(parts, axis=axis))
            if self.batch_first:
                order = [2, 0, 1, 3] if index == 0 else [1, 0, 2]
                whole = emit(relax.op.permute_dims(whole, order))
            if self.dtype != "float32":
                whole = emit(relax.op.astype(whole, self.dtype))
            results.append(whole)
        return results

    def _direction(self, data: relax.Expr, index: int) -> list[relax.Expr]:
        emit = self.operation.emit
        weight = emit(relax.op.permute_dims(self._float32(self._part(1, index, 0))))
        recurrence = self._float32(self._part(2, index, 0))
        projected = emit(relax.op.matmul(data, weight))
        input_bias, recurrence_bias = self._biases(index)
        if input_bias is not None:
            projected = emit(relax.op.add(projected, constant(input_bias)))
        states = [self._initial(5 + state, index) for state in range(self.states)]
        reverse = self.reverse[index]
        if self.gates == 4:
            forget = self.operation.attribute("input_forget", 0)
            hidden, cell = states
            result = lstm(projected, recurrence, hidden, cell, reverse, forget)
        else:
            result = gru(
                projected,
                recurrence,
                constant(recurrence_bias),
                states[0],
                reverse,
                self.operation.attribute("linear_before_reset", 0),
            )
        result = emit(result)
        return [emit(relax.TupleGetItem(result, i)) for i in range(1 + self.states)]

    def _part(self, position: int, index: int, axis: int) -> relax.Expr:
        """Direction ``index`` of an input that has the directions along ``axis``."""
        emit = self.operation.emit
        value = self.operation.tensor(position)
        if len(self.reverse) > 1:
            value = emit(relax.op.strided_slice(value, [axis], [index], [index + 1]))
        return emit(relax.op.squeeze(value, [axis]))

    def _initial(self, position: int, index: int) -> relax.Expr:
        if self.operation.has(position):
            return self._float32(self._part(position, index, 1 if self.batch_first else 0))
        return constant(np.zeros((self.batch, self.hidden), np.float32))

    def _biases(self, index: int) -> tuple[np.ndarray | None, np.ndarray]:
        """Give what is added to the projection, and what the recurrence adds itself."""
        width = self.gates * self.hidden
        if not self.operation.has(3):
            return None, np.zeros(width, np.float32)
        both = self.operation.constant(3, "bias B")[index].astype(np.float32)
        input_bias, recurrence_bias = both[:width], both[width:]
        if self.gates == 4:
            return input_bias + recurrence_bias, recurrence_bias
        return input_bias, recurrence_bias

    def _float32(self, value: relax.Expr) -> relax.Expr:
        if self.dtype == "float32":
            return value
        return self.operation.emit(relax.op.astype(value, "float32"))
