"""Gemm, MatMul and Gather: what computes from 2-D weights."""

from __future__ import annotations

import numpy as np
from tvm import relax

from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation, constant


@converter("MatMul")
def matmul(operation: Operation) -> relax.Expr:
    """``matmul(a, b)`` with numpy's broadcasting."""
    return relax.op.matmul(operation.tensor(0), operation.tensor(1))


@converter("Gemm")
def gemm(operation: Operation) -> relax.Expr:
    """``alpha * a @ b + beta * c``: the factors scale the results, never the weight."""
    left, right = operation.tensor(0), operation.tensor(1)
    if operation.attribute("transA", 0):
        left = operation.emit(relax.op.permute_dims(left))
    if operation.attribute("transB", 0):
        right = operation.emit(relax.op.permute_dims(right))
    result = operation.emit(relax.op.matmul(left, right))
    alpha, beta = operation.attribute("alpha", 1.0), operation.attribute("beta", 1.0)
    if alpha != 1.0:
        result = operation.emit(relax.op.multiply(result, operation.scalar(alpha)))
    if not operation.has(2) or beta == 0.0:
        return result
    bias = operation.tensor(2)
    if beta != 1.0:
        bias = operation.emit(relax.op.multiply(bias, operation.scalar(beta)))
    return operation.emit(relax.op.add(result, bias))


@converter("Gather")
def gather(operation: Operation) -> relax.Expr:
    """``take`` with negative indices counted from the end; others outside are clipped."""
    axis = operation.axis(0)
    size = operation.shape()[axis]
    indices = operation.known(1)
    if indices is not None:
        indices = np.where(indices < 0, indices + size, indices).astype(np.int64)
        if indices.size and not (indices.min() >= 0 and indices.max() < size):
            raise operation.error(f"an index is outside axis {axis} of size {size}")
        positions = constant(indices)
    else:
        given = operation.tensor(1)
        zero, extent = operation.scalar(0, 1), operation.scalar(size, 1)
        positions = operation.emit(
            relax.op.where(relax.op.less(given, zero), relax.op.add(given, extent), given)
        )
    return relax.op.take(operation.tensor(0), positions, axis=axis, mode="clip")
