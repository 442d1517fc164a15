"""Operators that compute each element by itself, and reductions."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.nn import functional

from dcc.training.operators.registry import OPERATORS, OperatorCall, operator

_UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}

_BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "Add": torch.add,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "Less": torch.lt,
    "Mul": torch.mul,
    "Pow": torch.pow,
    "Sub": torch.sub,
}

_REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "ReduceL2": functools.partial(torch.linalg.vector_norm, ord=2),
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceSum": torch.sum,
}


def _register() -> None:
    for name, unary in _UNARY.items():
        OPERATORS[name] = functools.partial(_apply_unary, unary)
    for name, binary in _BINARY.items():
        OPERATORS[name] = functools.partial(_apply_binary, binary)
    for name, reduction in _REDUCTIONS.items():
        OPERATORS[name] = functools.partial(_reduce, reduction)


def _apply_unary(
    function: Callable[[torch.Tensor], torch.Tensor], call: OperatorCall
) -> torch.Tensor:
    return function(call.tensor())


def _apply_binary(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], call: OperatorCall
) -> torch.Tensor:
    return function(call.tensor(0), call.tensor(1))


def _reduce(function: Callable[..., torch.Tensor], call: OperatorCall) -> torch.Tensor:
    axes = call.integers(1, "axes")
    if not axes:
        if call.attribute("noop_with_empty_axes", 0):
            return call.tensor()
        axes = list(range(call.tensor().ndim))
    return function(call.tensor(), dim=tuple(axes), keepdim=bool(call.attribute("keepdims", 1)))


@operator("Div")
def divide(call: OperatorCall) -> torch.Tensor:
    """Divide; integers towards zero, as shapes are computed."""
    first, second = call.tensor(0), call.tensor(1)
    mode = None if first.is_floating_point() else "trunc"
    return torch.div(first, second, rounding_mode=mode)


@operator("Sum", "Mean", "Max", "Min")
def combine(call: OperatorCall) -> torch.Tensor:
    """Combine any number of tensors."""
    kind = call.node.operator
    tensors = [call.tensor(index) for index in range(len(call.values))]
    pairwise = {"Max": torch.maximum, "Min": torch.minimum}.get(kind, torch.add)
    result = functools.reduce(pairwise, tensors)
    return result / len(tensors) if kind == "Mean" else result


@operator("Clip")
def clip(call: OperatorCall) -> torch.Tensor:
    """Limit to a range that is given by inputs or, before opset 11, by attributes."""
    low = call.optional(1) if call.has(1) else call.attribute("min")
    high = call.optional(2) if call.has(2) else call.attribute("max")
    if low is None and high is None:
        return call.tensor()
    bounds = [None if bound is None else float(bound) for bound in (low, high)]
    return torch.clamp(call.tensor(), bounds[0], bounds[1])


@operator("LeakyRelu")
def leaky_relu(call: OperatorCall) -> torch.Tensor:
    """Scale what is negative."""
    return functional.leaky_relu(call.tensor(), call.attribute("alpha", 0.01))


@operator("PRelu")
def prelu(call: OperatorCall) -> torch.Tensor:
    """Scale what is negative by a tensor that broadcasts."""
    value = call.tensor()
    return torch.where(value < 0, value * call.tensor(1), value)


@operator("Elu")
def elu(call: OperatorCall) -> torch.Tensor:
    """Bend what is negative to an exponential."""
    return functional.elu(call.tensor(), call.attribute("alpha", 1.0))


@operator("Selu")
def selu(call: OperatorCall) -> torch.Tensor:
    """Scaled :func:`elu`."""
    alpha = call.attribute("alpha", 1.6732632423543772)
    return call.attribute("gamma", 1.0507009873554805) * functional.elu(call.tensor(), alpha)


@operator("HardSigmoid")
def hard_sigmoid(call: OperatorCall) -> torch.Tensor:
    """Clamp a line to 0 and 1."""
    line = call.attribute("alpha", 0.2) * call.tensor() + call.attribute("beta", 0.5)
    return line.clamp(0.0, 1.0)


@operator("Gelu")
def gelu(call: OperatorCall) -> torch.Tensor:
    """Gaussian error linear unit."""
    return functional.gelu(call.tensor(), approximate=call.attribute("approximate", "none"))


@operator("Where")
def where(call: OperatorCall) -> torch.Tensor:
    """Choose by a condition."""
    return torch.where(call.tensor(0).bool(), call.tensor(1), call.tensor(2))


@operator("Softmax", "LogSoftmax")
def softmax(call: OperatorCall) -> torch.Tensor:
    """Normalise exponentials; before opset 13 over all axes from ``axis`` on."""
    function = torch.softmax if call.node.operator == "Softmax" else torch.log_softmax
    value = call.tensor()
    if call.opset >= 13:
        return function(value, call.attribute("axis", -1))
    axis = call.attribute("axis", 1) % max(value.ndim, 1)
    return function(value.flatten(axis), axis).reshape(value.shape)


@operator("Identity", "Dropout")
def identity(call: OperatorCall) -> torch.Tensor:
    """Pass on; dropout too, since what is trained here is small already."""
    return call.tensor()


_register()
