"""What ``relax.dcc.lstm`` and ``relax.dcc.gru`` mean, in numpy: the oracles of their kernels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def lstm_reference(
    projected: np.ndarray,
    recurrence: np.ndarray,
    initial_hidden: np.ndarray,
    initial_cell: np.ndarray,
    reverse: int = 0,
    input_forget: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All hidden states [T, B, H], the last hidden and cell state; shapes as in ``lstm``."""
    hidden, cell = initial_hidden, initial_cell
    states = np.empty((*projected.shape[:2], hidden.shape[1]), projected.dtype)
    for step in _order(len(projected), reverse):
        input_, output, forget, candidate = np.split(
            projected[step] + hidden @ recurrence.T, 4, axis=1
        )
        keep = 1 - _sigmoid(input_) if input_forget else _sigmoid(forget)
        cell = keep * cell + _sigmoid(input_) * np.tanh(candidate)
        hidden = _sigmoid(output) * np.tanh(cell)
        states[step] = hidden
    return states, hidden, cell


def gru_reference(
    projected: np.ndarray,
    recurrence: np.ndarray,
    recurrence_bias: np.ndarray,
    initial_hidden: np.ndarray,
    reverse: int = 0,
    linear_before_reset: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """All hidden states [T, B, H] and the last one; shapes as in ``gru``."""
    hidden = initial_hidden
    states = np.empty((*projected.shape[:2], hidden.shape[1]), projected.dtype)
    matrices, biases = np.split(recurrence, 3), np.split(recurrence_bias, 3)
    for step in _order(len(projected), reverse):
        inputs = np.split(projected[step], 3, axis=1)
        update = _sigmoid(inputs[0] + hidden @ matrices[0].T + biases[0])
        reset = _sigmoid(inputs[1] + hidden @ matrices[1].T + biases[1])
        if linear_before_reset:
            candidate = reset * (hidden @ matrices[2].T + biases[2])
        else:
            candidate = (reset * hidden) @ matrices[2].T + biases[2]
        hidden = (1 - update) * np.tanh(inputs[2] + candidate) + update * hidden
        states[step] = hidden
    return states, hidden


def _order(steps: int, reverse: int) -> Iterable[int]:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
