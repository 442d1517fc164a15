"""Operators that only move elements: Reshape, Slice, Split and their kin, with static arguments."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation, constant


@converter("Identity", "Dropout")
def identity(operation: Operation) -> list[relax.Expr]:
    """Pass the input on; Dropout's mask (second output) is all true at inference."""
    is_dropout = operation.node.operator == "Dropout" and operation.has(2)
    if is_dropout and np.any(operation.constant(2, "training_mode")):
        raise operation.error("training_mode is not supported; export the model for inference")
    result = [operation.tensor(0)]
    if len(operation.node.outputs) > 1:
        result.append(constant(np.ones(operation.shape(), bool)))
    return result


@converter("Reshape")
def reshape(operation: Operation) -> relax.Expr:
    """Zeros copy the input's dimension unless ``allowzero``; one -1 is inferred."""
    if operation.has(1):
        wanted = operation.integers(1, "shape")
    else:
        wanted = list(operation.attribute("shape", ()))
    given = operation.shape()
    if not operation.attribute("allowzero", 0):
        if any(size == 0 and axis >= len(given) for axis, size in enumerate(wanted)):
            raise operation.error(f"shape {wanted} copies a dimension that the input lacks")
        wanted = [given[axis] if size == 0 else size for axis, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        known = math.prod(size for size in wanted if size != -1)
        inferred = math.prod(given) // known if known else 0
        wanted = [inferred if size == -1 else size for size in wanted]
    if math.prod(wanted) != math.prod(given) or min(wanted, default=0) < 0:
        raise operation.error(f"a tensor of shape {given} cannot take the shape {wanted}")
    return relax.op.reshape(operation.tensor(0), wanted)


@converter("Flatten")
def flatten(operation: Operation) -> relax.Expr:
    """Two dimensions: the product before ``axis`` and the product from it on."""
    shape, axis = operation.shape(), operation.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return relax.op.reshape(operation.tensor(0), (math.prod(shape[:axis]), math.prod(shape[axis:])))


@converter("Transpose")
def transpose(operation: Operation) -> relax.Expr:
    """Axes in the order ``perm``, or reversed."""
    axes = operation.attribute("perm") or tuple(reversed(range(operation.rank())))
    return relax.op.permute_dims(operation.tensor(0), [operation.normal_axis(a) for a in axes])


def _axes(operation: Operation, rank: int) -> list[int] | None:
    """Axes from the attribute (before opset 13) or the second input."""
    if operation.has(1):
        axes = operation.integers(1, "axes")
    elif operation.attribute("axes") is not None:
        axes = list(operation.attribute("axes"))
    else:
        return None
    return sorted(operation.normal_axis(axis, rank) for axis in axes)


@converter("Squeeze")
def squeeze(operation: Operation) -> relax.Expr:
    """Drop axes of size one: those given, or all."""
    axes = _axes(operation, operation.rank())
    if axes is None:
        axes = [axis for axis, size in enumerate(operation.shape()) if size == 1]
    return relax.op.squeeze(operation.tensor(0), axes) if axes else operation.tensor(0)


@converter("Unsqueeze")
def unsqueeze(operation: Operation) -> relax.Expr:
    """Insert axes of size one at positions of the result."""
    given = operation.integers(1, "axes") if operation.has(1) else operation.attribute("axes", ())
    axes = _axes(operation, operation.rank() + len(given)) or []
    return relax.op.expand_dims(operation.tensor(0), axes) if axes else operation.tensor(0)


@converter("Concat")
def concat(operation: Operation) -> relax.Expr:
    """Tensors side by side along ``axis``."""
    tensors = [operation.tensor(i) for i in range(len(operation.values))]
    return tensors[0] if len(tensors) == 1 else relax.op.concat(tensors, axis=operation.axis(1))


@converter("Split")
def split(operation: Operation) -> list[relax.Expr]:
    """Slices along ``axis``; sizes are given, or equal with the last one smaller."""
    axis = operation.axis(0)
    size, parts = operation.shape()[axis], len(operation.node.outputs)
    if operation.has(1):
        sizes = operation.integers(1, "split")
    elif operation.attribute("split"):
        sizes = list(operation.attribute("split"))
    else:
        part = -(-size // parts)
        sizes = [min(part, size - part * i) for i in range(parts)]
    if sum(sizes) != size or len(sizes) != parts or min(sizes) < 0:
        raise operation.error(f"cannot split {size} elements of axis {axis} into {sizes}")
    ends = np.cumsum(sizes).tolist()
    return [
        relax.op.strided_slice(operation.tensor(0), [axis], [end - length], [end])
        for length, end in zip(sizes, ends, strict=True)
    ]


@converter("Slice")
def slice_(operation: Operation) -> relax.Expr:
    """Numpy's slices: bounds are clamped, negative ones count from the end, steps too."""
    if operation.has(1):
        starts, ends = operation.integers(1, "starts"), operation.integers(2, "ends")
        axes = operation.integers(3, "axes") if operation.has(3) else list(range(len(starts)))
        steps = operation.integers(4, "steps") if operation.has(4) else [1] * len(starts)
    else:
        starts, ends = list(operation.attribute("starts", ())), list(operation.attribute("ends"))
        axes = list(operation.attribute("axes") or range(len(starts)))
        steps = [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise operation.error("starts, ends, axes and steps must have one length, steps not 0")
    result = operation.tensor(0)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = operation.normal_axis(axis)
        size = operation.shape()[axis]
        chosen = range(size)[start:end:step]
        if len(chosen) == 0:
            raise operation.error(f"slice {start}:{end}:{step} of axis {axis} ({size}) is empty")
        if chosen == range(size):
            continue
        if step > 0:
            stop = chosen[-1] + 1
            result = relax.op.strided_slice(result, [axis], [chosen[0]], [stop], [step])
        else:
            result = relax.op.take(result, constant(np.array(chosen)), axis=axis, mode="clip")
        result = operation.emit(result)
    return result


@converter("Expand")
def expand(operation: Operation) -> relax.Expr:
    """Broadcast with a shape, both ways (a 1 in the shape keeps the tensor's size)."""
    wanted = tuple(operation.integers(1, "shape"))
    try:
        shape = np.broadcast_shapes(operation.shape(), wanted)
    except ValueError as error:
        raise operation.error(f"shape {operation.shape()} does not expand to {wanted}") from error
    return relax.op.broadcast_to(operation.tensor(0), shape)


@converter("Tile")
def tile(operation: Operation) -> relax.Expr:
    """Repeat along each axis."""
    return relax.op.tile(operation.tensor(0), operation.integers(1, "repeats"))
