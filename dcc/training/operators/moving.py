"""Operators that move elements, and those that compute shapes."""

from __future__ import annotations

import math

import numpy as np
import onnx
import torch
from torch.nn import functional

from dcc.training.operators.registry import OperatorCall, operator

_TYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float32,  # trained in single precision
    onnx.TensorProto.DOUBLE: torch.float32,
    onnx.TensorProto.BFLOAT16: torch.float32,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.BOOL: torch.bool,
    onnx.TensorProto.UINT8: torch.uint8,
}


@operator("Flatten")
def flatten(call: OperatorCall) -> torch.Tensor:
    """Make a matrix: axes before ``axis`` and those from it on."""
    value = call.tensor()
    axis = call.attribute("axis", 1)
    return value.reshape(math.prod(value.shape[:axis]), -1)


@operator("Reshape")
def reshape(call: OperatorCall) -> torch.Tensor:
    """Reshape; a first dimension that was exported for a fixed batch follows the batch."""
    value = call.tensor()
    shape = call.integers(1, "shape") or []
    if not call.attribute("allowzero", 0):
        shape = [value.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    whole = -1 in shape or math.prod(shape) == value.numel()
    if shape and shape[0] == call.fixed_batch != call.batch and (shape[0] > 1 or not whole):
        shape[0] = call.batch
    elif shape and shape[0] == call.fixed_batch == 1 != call.batch and -1 in shape:
        shape = _free_batch(value, shape, call.batch)
    return value.reshape(shape)


def _free_batch(value: torch.Tensor, shape: list[int], batch: int) -> list[int]:
    """``[1, -1, ...]`` of something that has the batch in front means ``[batch, -1, ...]``."""
    return [batch, *shape[1:]] if value.shape[0] == batch else shape


@operator("Transpose")
def transpose(call: OperatorCall) -> torch.Tensor:
    """Permute axes."""
    value = call.tensor()
    return value.permute(call.attribute("perm") or tuple(reversed(range(value.ndim))))


@operator("Squeeze")
def squeeze(call: OperatorCall) -> torch.Tensor:
    """Remove axes of size one."""
    axes = call.integers(1, "axes")
    return call.tensor().squeeze() if axes is None else call.tensor().squeeze(tuple(axes))


@operator("Unsqueeze")
def unsqueeze(call: OperatorCall) -> torch.Tensor:
    """Insert axes of size one."""
    value = call.tensor()
    axes = call.integers(1, "axes") or []
    rank = value.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        value = value.unsqueeze(axis)
    return value


@operator("Concat")
def concat(call: OperatorCall) -> torch.Tensor:
    """Join along an axis."""
    return torch.cat([call.tensor(i) for i in range(len(call.values))], call.attribute("axis"))


@operator("Split")
def split(call: OperatorCall) -> tuple[torch.Tensor, ...]:
    """Cut along an axis, evenly unless sizes are given."""
    value, axis = call.tensor(), call.attribute("axis", 0)
    sizes = call.integers(1, "split")
    if sizes is None:
        return value.tensor_split(len(call.node.outputs), axis)
    return torch.split(value, sizes, axis)


@operator("Slice")
def slice_(call: OperatorCall) -> torch.Tensor:
    """Take ranges of axes; steps may be negative."""
    value = call.tensor()
    starts, ends = call.integers(1, "starts") or [], call.integers(2, "ends") or []
    axes = call.integers(3, "axes") or list(range(len(starts)))
    steps = call.integers(4) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = value.shape[axis]
        positions = range(size)[slice(start, end if end >= -size or step > 0 else None, step)]
        value = value.index_select(axis, torch.tensor(positions, device=value.device))
    return value


@operator("Gather")
def gather(call: OperatorCall) -> torch.Tensor:
    """Look up along an axis."""
    value, indices = call.tensor(0), call.tensor(1).long()
    axis = call.attribute("axis", 0) % value.ndim
    positions = torch.where(indices < 0, indices + value.shape[axis], indices)
    taken = value.index_select(axis, positions.reshape(-1))
    return taken.reshape(*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :])


@operator("Pad")
def pad(call: OperatorCall) -> torch.Tensor:
    """Pad with a constant, or by reflecting or repeating the edge."""
    value = call.tensor()
    pads = call.integers(1, "pads") or []
    axes = call.integers(3) or list(range(value.ndim))
    amounts = {axis % value.ndim: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    pairs = [amount for axis in reversed(range(value.ndim)) for amount in amounts.get(axis, (0, 0))]
    mode = call.attribute("mode", "constant")
    if mode != "constant":
        names = {"reflect": "reflect", "edge": "replicate"}
        while pairs and not any(pairs[-2:]):
            del pairs[-2:]
        if mode not in names:
            raise call.error(f"mode '{mode}' is not supported")
        return functional.pad(value, pairs, names[mode])
    fill = call.optional(2)
    stated = call.attribute("value", 0.0) if fill is None else float(fill.reshape(-1)[0])
    return functional.pad(value, pairs, value=stated)


@operator("Expand")
def expand(call: OperatorCall) -> torch.Tensor:
    """Broadcast to a shape."""
    shape = np.broadcast_shapes(tuple(call.tensor().shape), tuple(call.integers(1) or []))
    return call.tensor().expand(shape)


@operator("Shape")
def shape_of(call: OperatorCall) -> torch.Tensor:
    """Give the shape."""
    return torch.tensor(call.tensor().shape, dtype=torch.int64)


@operator("ConstantOfShape")
def constant_of_shape(call: OperatorCall) -> torch.Tensor:
    """Fill a new tensor."""
    stated = call.attribute("value")
    filling = 0.0 if stated is None else float(onnx.numpy_helper.to_array(stated).reshape(-1)[0])
    kind = torch.float32 if stated is None else _TYPES.get(stated.data_type, torch.float32)
    return torch.full(call.integers(0) or [], filling, dtype=kind)


@operator("Cast")
def cast(call: OperatorCall) -> torch.Tensor:
    """Change the type; all floats are single precision here."""
    kind = call.attribute("to")
    if kind not in _TYPES:
        raise call.error(f"a cast to {onnx.TensorProto.DataType.Name(kind)} is not supported")
    return call.tensor().to(_TYPES[kind])
