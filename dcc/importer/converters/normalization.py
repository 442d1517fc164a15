"""Normalisations: per channel with stored statistics, or over axes of the data itself."""

from __future__ import annotations

import numpy as np
from tvm import relax

from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation


@converter("BatchNormalization")
def batch_normalization(operation: Operation) -> relax.Expr:
    """Inference form: ``x * scale + shift`` with ``scale = gamma / sqrt(variance + epsilon)``.

    The two small vectors are computed here in float64 and become constants: the following passes
    see the convolution's weight as it was trained, and the affine map as its epilogue.
    """
    if operation.attribute("training_mode", 0) or operation.attribute("is_test", 1) == 0:
        raise operation.error("training_mode is not supported; export the model for inference")
    shape = (1, -1) + (1,) * (operation.rank() - 2)
    if any(operation.known(i) is None for i in range(1, 5)):
        return _computed_statistics(operation, shape)
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        operation.constant(i + 1, name).astype(np.float64) for i, name in enumerate(names)
    )
    scale = gamma / np.sqrt(variance + operation.attribute("epsilon", 1e-5))
    shift = beta - mean * scale
    dtype = operation.dtype()
    scaled = operation.emit(
        relax.op.multiply(operation.tensor(0), relax.const(scale.reshape(shape), dtype))
    )
    return relax.op.add(scaled, relax.const(shift.reshape(shape), dtype))


def _computed_statistics(operation: Operation, shape: tuple[int, ...]) -> relax.Expr:
    """Batch normalisation whose statistics the model computes."""
    gamma, beta, mean, variance = (
        operation.emit(relax.op.reshape(operation.tensor(i), shape)) for i in range(1, 5)
    )
    epsilon = operation.scalar(operation.attribute("epsilon", 1e-5), 4)
    deviation = operation.emit(relax.op.sqrt(relax.op.add(variance, epsilon)))
    centred = operation.emit(relax.op.subtract(operation.tensor(0), mean))
    normal = operation.emit(relax.op.divide(centred, deviation))
    return relax.op.add(relax.op.multiply(normal, gamma), beta)


@converter("LayerNormalization")
def layer_normalization(operation: Operation) -> list[relax.Expr]:
    """Normalise over the axes from ``axis`` on; give mean and inverse deviation if asked for.

    In float32 whatever the input (``stash_type`` 1): half precision loses the variance.
    """
    emit = operation.emit
    axes = list(range(operation.axis(-1), operation.rank()))
    dtype = operation.dtype()
    data = operation.tensor(0)
    half = dtype != "float32" and operation.attribute("stash_type", 1) == 1
    if half:
        data = emit(relax.op.astype(data, "float32"))
    mean = emit(relax.op.mean(data, axes, keepdims=True))
    centred = emit(relax.op.subtract(data, mean))
    variance = emit(relax.op.mean(relax.op.multiply(centred, centred), axes, keepdims=True))
    epsilon = relax.const(operation.attribute("epsilon", 1e-5), "float32" if half else dtype)
    deviation = emit(relax.op.sqrt(relax.op.add(variance, epsilon)))
    result = emit(relax.op.divide(centred, deviation))
    if half:
        result = emit(relax.op.astype(result, dtype))
    result = emit(relax.op.multiply(result, operation.tensor(1)))
    if operation.has(2):
        result = emit(relax.op.add(result, operation.tensor(2)))
    one = relax.const(1.0, "float32" if half else dtype)
    return [result, mean, relax.op.divide(one, deviation)][: len(operation.node.outputs)]


@converter("LpNormalization")
def lp_normalization(operation: Operation) -> relax.Expr:
    """``x / norm(x)`` along one axis, with the norm of order 1 or 2."""
    data, axes = operation.tensor(0), [operation.axis(-1)]
    if operation.attribute("p", 2) == 1:
        norm = relax.op.sum(relax.op.abs(data), axes, keepdims=True)
    else:
        norm = relax.op.sqrt(relax.op.sum(relax.op.multiply(data, data), axes, keepdims=True))
    norm = operation.emit(norm)
    zero = operation.scalar(0)
    safe = operation.emit(relax.op.where(relax.op.equal(norm, zero), operation.scalar(1), norm))
    return relax.op.divide(data, safe)


@converter("RMSNormalization")
def root_mean_square_normalization(operation: Operation) -> relax.Expr:
    """``x / sqrt(mean(x * x) + epsilon) * scale`` over the axes from ``axis`` on."""
    emit, data = operation.emit, operation.tensor(0)
    axes = list(range(operation.axis(-1), operation.rank()))
    square = emit(relax.op.mean(relax.op.multiply(data, data), axes, keepdims=True))
    epsilon = operation.scalar(operation.attribute("epsilon", 1e-5))
    deviation = emit(relax.op.sqrt(relax.op.add(square, epsilon)))
    return relax.op.multiply(relax.op.divide(data, deviation), operation.tensor(1))


@converter("LRN")
def local_response_normalization(operation: Operation) -> relax.Expr:
    """``x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta``."""
    emit, data = operation.emit, operation.tensor(0)
    size, channels = operation.attribute("size"), operation.shape()[1]
    before = (size - 1) // 2
    widths = [0, 0, before, size - 1 - before] + [0, 0] * (operation.rank() - 2)
    squares = emit(relax.op.nn.pad(relax.op.multiply(data, data), widths))
    total = None
    for start in range(size):
        part = emit(relax.op.strided_slice(squares, [1], [start], [start + channels]))
        total = part if total is None else emit(relax.op.add(total, part))
    scale = operation.scalar(operation.attribute("alpha", 1e-4) / size)
    base = relax.op.add(
        relax.op.multiply(total, scale), operation.scalar(operation.attribute("bias", 1.0))
    )
    power = emit(relax.op.power(emit(base), operation.scalar(operation.attribute("beta", 0.75))))
    return relax.op.divide(data, power)
