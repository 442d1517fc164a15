"""Element-wise operators that TVM's importer lacks or gets wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import helper
from tvm import relax

from dcc.importer import upstream
from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation, constant


@converter("Celu")
def celu(operation: Operation) -> relax.Expr:
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``."""
    x, alpha = operation.tensor(0), operation.attribute("alpha", 1.0)
    scaled = operation.emit(relax.op.divide(x, operation.scalar(alpha)))
    grown = operation.emit(relax.op.subtract(relax.op.exp(scaled), operation.scalar(1)))
    low = relax.op.minimum(relax.op.multiply(grown, operation.scalar(alpha)), operation.scalar(0))
    return relax.op.add(relax.op.nn.relu(x), low)


@converter("Swish")
def swish(operation: Operation) -> relax.Expr:
    """``x * sigmoid(alpha * x)``."""
    x = operation.tensor(0)
    scaled = relax.op.multiply(x, operation.scalar(operation.attribute("alpha", 1.0)))
    return relax.op.multiply(x, relax.op.sigmoid(scaled))


@converter("IsInf")
def is_infinite(operation: Operation) -> relax.Expr:
    """With ``detect_positive`` and ``detect_negative``, which TVM ignores."""
    x = operation.tensor(0)
    found = [
        relax.op.equal(x, operation.scalar(value))
        for name, value in (("detect_positive", np.inf), ("detect_negative", -np.inf))
        if operation.attribute(name, 1)
    ]
    if not found:
        return relax.op.zeros(operation.shape(), "bool")
    return found[0] if len(found) == 1 else relax.op.logical_or(*found)


@converter("Pow")
def power(operation: Operation) -> relax.Expr:
    """``x ** y`` in the element type of ``x``; squares and roots as such, integers by float64."""
    x, exponent = operation.tensor(0), operation.known(1)
    if exponent is not None and exponent.size == 1:
        value = float(exponent.reshape(-1)[0])
        same_shape = len(exponent.shape) <= operation.rank()
        if value == 2.0 and same_shape:
            return relax.op.multiply(x, x)
        if value == 0.5 and same_shape and operation.dtype().startswith("float"):
            return relax.op.sqrt(x)
    dtype = operation.dtype()
    working = dtype if dtype.startswith("float") else "float64"
    y = operation.tensor(1)
    if operation.dtype(1) != working:
        y = operation.emit(relax.op.astype(y, working))
    if working == dtype:
        return relax.op.power(x, y)
    x = operation.emit(relax.op.astype(x, working))
    return relax.op.astype(relax.op.power(x, y), dtype)


@converter("SpaceToDepth")
def space_to_depth(operation: Operation) -> relax.Expr:
    """Blocks of space to channels, in either order of the two."""
    batch, channels, height, width = operation.shape()
    block = operation.attribute("blocksize")
    if height % block or width % block:
        raise operation.error(f"{height} x {width} is no multiple of the block size {block}")
    shape = (batch, channels, height // block, block, width // block, block)
    blocks = operation.emit(relax.op.reshape(operation.tensor(0), shape))
    order = [0, 3, 5, 1, 2, 4]
    if operation.attribute("mode", "DCR") == "CRD":
        order = [0, 1, 3, 5, 2, 4]
    moved = operation.emit(relax.op.permute_dims(blocks, order))
    target = (batch, channels * block * block, height // block, width // block)
    return relax.op.reshape(moved, target)


@converter("RoiAlign")
def roi_align(operation: Operation) -> relax.Expr:
    """By TVM, without the mode it computes differently from ONNX."""
    if operation.attribute("mode", "avg") != "avg":
        raise operation.error("attribute 'mode' is supported only as 'avg'")
    return upstream.convert(operation)


@converter("CastLike")
def cast_like(operation: Operation) -> relax.Expr:
    """Cast the first input to the element type of the second."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(operation.dtype(1)))
    node = replace(operation.node, operator="Cast", attributes={"to": element})
    return upstream.convert(replace(operation, node=node))


@converter("OneHot")
def one_hot(operation: Operation) -> relax.Expr:
    """Comparison of the indices with 0 to depth - 1; negative indices count from the end."""
    depth = operation.integers(1, "depth")[0]
    off, on = operation.constant(2, "values")
    rank = operation.rank() + 1
    axis = operation.axis(-1, rank)
    index = operation.emit(relax.op.expand_dims(operation.tensor(0), [axis]))
    negative = relax.op.less(index, operation.scalar(0))
    shifted = relax.op.add(index, operation.scalar(depth))
    index = operation.emit(relax.op.where(negative, shifted, index))
    shape = [1] * rank
    shape[axis] = depth
    classes = constant(np.arange(depth).astype(operation.dtype()).reshape(shape))
    hot = operation.emit(relax.op.equal(index, classes))
    return relax.op.where(hot, constant(np.asarray(on)), constant(np.asarray(off)))


@converter("PRelu")
def parametric_relu(operation: Operation) -> relax.Expr:
    """``x`` where positive, else ``slope * x``; a slope per channel before opset 7."""
    x, slope = operation.tensor(0), operation.tensor(1)
    shape, slopes = operation.shape(), operation.shape(1)
    per_channel = len(slopes) == 1 and len(shape) > 1 and slopes[0] == shape[1]
    if per_channel and (operation.opset < 7 or slopes[0] != shape[-1]):
        slope = operation.emit(relax.op.reshape(slope, (-1,) + (1,) * (len(shape) - 2)))
    negative = operation.emit(relax.op.less(x, operation.scalar(0)))
    return relax.op.where(negative, operation.emit(relax.op.multiply(x, slope)), x)


@converter("EyeLike")
def eye_like(operation: Operation) -> relax.Expr:
    """Ones on diagonal ``k`` of a matrix of the input's shape."""
    rows, columns = operation.shape()
    element = operation.attribute("dtype")
    dtype = helper.tensor_dtype_to_np_dtype(element) if element else operation.dtype()
    return constant(np.eye(rows, columns, k=operation.attribute("k", 0), dtype=dtype))


@converter("Clip")
def clip(operation: Operation) -> relax.Expr:
    """Bounds from the attributes (before opset 11) or the inputs, either of which may be absent."""
    result = operation.tensor(0)
    for index, name, bound in ((1, "min", relax.op.maximum), (2, "max", relax.op.minimum)):
        known = operation.known(index)
        if known is not None:
            limit = constant(known.reshape(()))
        elif operation.has(index):
            limit = operation.emit(relax.op.reshape(operation.tensor(index), ()))
        elif operation.attribute(name) is not None:
            limit = operation.scalar(operation.attribute(name))
        else:
            continue
        result = operation.emit(bound(result, limit))
    return result
