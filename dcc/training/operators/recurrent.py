"""LSTM and GRU, step by step: slow beside torch's own, but every variant of ONNX trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from dcc.training.operators.registry import OperatorCall, operator

_REVERSED = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@operator("LSTM")
def lstm(call: OperatorCall) -> tuple[torch.Tensor, ...]:
    """Give Y, Y_h and Y_c; gates in the order input, output, forget, cell."""
    _check(call)
    value, directions = _steps_first(call), []
    for index, backwards in enumerate(_REVERSED[call.attribute("direction", "forward")]):
        gates, recurrent = _projected(call, value, index)
        state = _initial(call, 5, index, recurrent.shape[1], value)
        cell = _initial(call, 6, index, recurrent.shape[1], value)
        steps = []
        for projected in reversed(gates.unbind(0)) if backwards else gates.unbind(0):
            parts = (projected + state @ recurrent.T).chunk(4, dim=1)
            entry, output, forget = (torch.sigmoid(part) for part in parts[:3])
            cell = forget * cell + entry * torch.tanh(parts[3])
            state = output * torch.tanh(cell)
            steps.append(state)
        directions.append((_in_order(steps, backwards), state, cell))
    return _outputs(call, directions)


@operator("GRU")
def gru(call: OperatorCall) -> tuple[torch.Tensor, ...]:
    """Give Y and Y_h; gates in the order update, reset, hidden."""
    _check(call)
    value, directions = _steps_first(call), []
    for index, backwards in enumerate(_REVERSED[call.attribute("direction", "forward")]):
        hidden = call.tensor(2).shape[2]
        weight, recurrent = call.tensor(1)[index], call.tensor(2)[index]
        bias = call.tensor(3)[index] if call.has(3) else weight.new_zeros(6 * hidden)
        gates = functional.linear(value, weight, bias[: 3 * hidden])
        state = _initial(call, 5, index, hidden, value)
        steps = []
        for projected in reversed(gates.unbind(0)) if backwards else gates.unbind(0):
            state = _gru_step(call, projected, state, recurrent, bias[3 * hidden :])
            steps.append(state)
        directions.append((_in_order(steps, backwards), state))
    return _outputs(call, directions)


def _gru_step(
    call: OperatorCall,
    projected: torch.Tensor,
    state: torch.Tensor,
    recurrent: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """Compute the next state; ``linear_before_reset`` says where the reset gate acts."""
    hidden = state.shape[1]
    gates = projected[:, : 2 * hidden] + functional.linear(
        state, recurrent[: 2 * hidden], bias[: 2 * hidden]
    )
    update, reset = torch.sigmoid(gates).chunk(2, dim=1)
    last, last_bias = recurrent[2 * hidden :], bias[2 * hidden :]
    if call.attribute("linear_before_reset", 0):
        inner = reset * functional.linear(state, last, last_bias)
    else:
        inner = functional.linear(reset * state, last, last_bias)
    candidate = torch.tanh(projected[:, 2 * hidden :] + inner)
    return update * state + (1.0 - update) * candidate


def _check(call: OperatorCall) -> None:
    for name in ("activations", "clip"):
        if call.attribute(name) and name == "clip":
            raise call.error("attribute 'clip' is not supported")
    activations = [text.decode().lower() for text in call.attribute("activations") or ()]
    usual = ["sigmoid", "tanh", "tanh"] if call.node.operator == "LSTM" else ["sigmoid", "tanh"]
    if activations and activations != usual * (len(activations) // len(usual)):
        raise call.error(f"activations {', '.join(activations)} are not supported")
    if call.has(4):
        raise call.error("input 'sequence_lens' is not supported")
    if call.has(7) and bool(call.tensor(7).any()):
        raise call.error("peepholes (input 'P') are not supported")


def _steps_first(call: OperatorCall) -> torch.Tensor:
    value = call.tensor()
    return value.transpose(0, 1) if call.attribute("layout", 0) else value


def _projected(
    call: OperatorCall, value: torch.Tensor, index: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input projection of all steps with both biases, and the recurrent matrix."""
    weight, recurrent = call.tensor(1)[index], call.tensor(2)[index]
    bias = None
    if call.has(3):
        half = call.tensor(3).shape[1] // 2
        bias = call.tensor(3)[index, :half] + call.tensor(3)[index, half:]
    return functional.linear(value, weight, bias), recurrent


def _initial(
    call: OperatorCall, index: int, direction: int, hidden: int, value: torch.Tensor
) -> torch.Tensor:
    if not call.has(index):
        return value.new_zeros(value.shape[1], hidden)
    given = call.tensor(index)
    chosen = given[:, direction] if call.attribute("layout", 0) else given[direction]
    return chosen.expand(value.shape[1], hidden)


def _in_order(steps: list[torch.Tensor], backwards: bool) -> torch.Tensor:
    return torch.stack(steps[::-1] if backwards else steps)


def _outputs(
    call: OperatorCall, directions: Sequence[tuple[torch.Tensor, ...]]
) -> tuple[torch.Tensor, ...]:
    """Stack the directions and put the batch where the layout wants it."""
    whole = torch.stack([parts[0] for parts in directions], dim=1)
    states = [torch.stack(part) for part in list(zip(*directions, strict=True))[1:]]
    if call.attribute("layout", 0):
        return whole.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in states)
    return whole, *states
