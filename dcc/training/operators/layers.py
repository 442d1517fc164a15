"""Layers with weights, normalisation and pooling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from dcc.training.operators.registry import OperatorCall, operator

_CONVOLUTIONS: dict[int, Callable[..., torch.Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
_MAXIMA: dict[int, Callable[..., torch.Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
_MEANS: dict[int, Callable[..., torch.Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}


@operator("Conv")
def convolve(call: OperatorCall) -> torch.Tensor:
    """Convolution of any rank, grouped and dilated, with every ``auto_pad``."""
    weight = call.tensor(1)
    if weight.ndim == 4:
        # Half the time on the CPU; the layout of the weight decides that of the output. Not
        # `contiguous`, which leaves weights of one input channel, that are of either layout, alone.
        weight = weight.to(memory_format=torch.channels_last)
    window = _Window(call, list(weight.shape[2:]))
    value, padding = window.split(call.tensor(), 0.0)
    convolution = _ranked(_CONVOLUTIONS, window.rank, call)
    return convolution(
        value,
        weight,
        call.optional(2),
        stride=window.strides,
        padding=padding,
        dilation=window.dilations,
        groups=call.attribute("group", 1),
    )


@operator("MaxPool")
def max_pool(call: OperatorCall) -> torch.Tensor:
    """Largest value of each window."""
    if len(call.node.outputs) > 1:
        raise call.error("the output of indices is not supported")
    window = _Window(call, list(call.attribute("kernel_shape")))
    value = window.padded(call.tensor(), float("-inf"))
    pool = _ranked(_MAXIMA, window.rank, call)
    return pool(value, window.kernel, window.strides, 0, window.dilations, window.ceil_mode)


@operator("AveragePool")
def average_pool(call: OperatorCall) -> torch.Tensor:
    """Mean of each window; padding counts only where the model says so."""
    window = _Window(call, list(call.attribute("kernel_shape")))
    pool = _ranked(_MEANS, window.rank, call)
    if set(window.dilations) != {1}:
        raise call.error("dilations are not supported")
    value = window.padded(call.tensor(), 0.0)
    mean = pool(value, window.kernel, window.strides, 0, window.ceil_mode)
    if not any(window.pads) or call.attribute("count_include_pad", 0):
        return mean
    inside = window.padded(torch.ones_like(call.tensor()), 0.0)
    return mean / pool(inside, window.kernel, window.strides, 0, window.ceil_mode)


@operator("GlobalAveragePool")
def global_average_pool(call: OperatorCall) -> torch.Tensor:
    """Mean over all positions."""
    value = call.tensor()
    return value.mean(dim=tuple(range(2, value.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(call: OperatorCall) -> torch.Tensor:
    """Largest value of all positions."""
    value = call.tensor()
    return value.amax(dim=tuple(range(2, value.ndim)), keepdim=True)


@operator("Gemm")
def gemm(call: OperatorCall) -> torch.Tensor:
    """``alpha * A' @ B' + beta * C``."""
    first, second = call.tensor(0), call.tensor(1)
    first = first.T if call.attribute("transA", 0) else first
    second = second.T if call.attribute("transB", 0) else second
    product = call.attribute("alpha", 1.0) * (first @ second)
    return product + call.attribute("beta", 1.0) * call.tensor(2) if call.has(2) else product


@operator("MatMul")
def matmul(call: OperatorCall) -> torch.Tensor:
    """Matrix product with numpy's broadcasting."""
    return call.tensor(0) @ call.tensor(1)


@operator("BatchNormalization")
def batch_normalization(call: OperatorCall) -> torch.Tensor:
    """Normalise; in training by the batch, whose statistics move the running ones."""
    value, scale, bias, mean, variance = (call.tensor(index) for index in range(5))
    momentum = 1.0 - call.attribute("momentum", 0.9)
    epsilon = call.attribute("epsilon", 1e-5)
    return functional.batch_norm(
        value, mean, variance, scale, bias, call.training, momentum, epsilon
    )


@operator("InstanceNormalization")
def instance_normalization(call: OperatorCall) -> torch.Tensor:
    """Normalise each channel of each sample."""
    epsilon = call.attribute("epsilon", 1e-5)
    return functional.instance_norm(
        call.tensor(0), weight=call.tensor(1), bias=call.tensor(2), eps=epsilon
    )


@operator("LayerNormalization")
def layer_normalization(call: OperatorCall) -> torch.Tensor:
    """Normalise over the axes from ``axis`` on."""
    value = call.tensor()
    axis = call.attribute("axis", -1) % value.ndim
    epsilon = call.attribute("epsilon", 1e-5)
    return functional.layer_norm(
        value, value.shape[axis:], call.tensor(1), call.optional(2), epsilon
    )


class _Window:
    """Kernel, strides, dilations and padding of a convolution or pooling."""

    def __init__(self, call: OperatorCall, kernel: list[int]) -> None:
        self.kernel = kernel
        self.rank = len(kernel)
        self.strides = list(call.attribute("strides") or [1] * self.rank)
        self.dilations = list(call.attribute("dilations") or [1] * self.rank)
        self.ceil_mode = bool(call.attribute("ceil_mode", 0))
        self.pads = self._resolve(call)

    def split(self, value: torch.Tensor, fill: float) -> tuple[torch.Tensor, list[int]]:
        """``value`` and the padding that torch's convolution does itself, if both sides agree."""
        if self.pads[: self.rank] == self.pads[self.rank :]:
            return value, self.pads[: self.rank]
        return self.padded(value, fill), [0] * self.rank

    def padded(self, value: torch.Tensor, fill: float) -> torch.Tensor:
        """``value`` with ``fill`` around it."""
        if not any(self.pads):
            return value
        pairs = [
            self.pads[axis + side] for axis in reversed(range(self.rank)) for side in (0, self.rank)
        ]
        return functional.pad(value, pairs, value=fill)

    def _resolve(self, call: OperatorCall) -> list[int]:
        """Give the padding before each axis, then behind each."""
        mode = call.attribute("auto_pad", "NOTSET")
        if mode == "VALID":
            return [0] * (2 * self.rank)
        if mode == "NOTSET":
            return list(call.attribute("pads") or [0] * (2 * self.rank))
        before, behind = [], []
        sizes = call.tensor().shape[2:]
        for size, kernel, stride, dilation in zip(
            sizes, self.kernel, self.strides, self.dilations, strict=True
        ):
            wanted = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size
            less, more = max(wanted, 0) // 2, -(-max(wanted, 0) // 2)
            before.append(more if mode == "SAME_LOWER" else less)
            behind.append(less if mode == "SAME_LOWER" else more)
        return before + behind


def _ranked(
    table: dict[int, Callable[..., torch.Tensor]], rank: int, call: OperatorCall
) -> Callable[..., torch.Tensor]:
    if rank not in table:
        raise call.error(f"windows of {rank} dimensions are not supported, only 1 to 3")
    return table[rank]
