"""Types and registration of the layers that compute from a compressed weight."""

from __future__ import annotations

from functools import partial
from typing import Any

from tvm import relax
from tvm.ir import Call

from dcc.passes.operators.coded_layers import FAMILIES, CodedLayer, Family, Kind, coded_layer
from dcc.passes.operators.recurrent import recurrence_types
from dcc.passes.operators.registration import call_operator, register_operator

DATA: dict[Kind, tuple[str, ...]] = {
    "matmul": ("x",),
    "conv1d": ("x",),
    "conv2d": ("x",),
    "take": ("indices",),
    "lstm": ("projected", "initial_hidden", "initial_cell"),
    "gru": ("projected", "recurrent_bias", "initial_hidden"),
}
WEIGHT: dict[Family, tuple[str, ...]] = {
    "codebook": ("codes", "codebook"),
    "raw": ("values", "mask"),
}


def infer_layer(call: Call, _builder: relax.BlockBuilder) -> relax.Type:
    """Type of the result of a coded layer.

    Raises
    ------
    TypeError
        A shape, an element type or the number of arguments does not fit.
    """
    layer = coded_layer(call)
    assert layer is not None
    try:
        kind = _result(layer)
        _check_weight(layer)
        _check_epilogue(layer, len(call.args))
    except (TypeError, IndexError, KeyError) as error:
        raise TypeError(f"{call.op.name}: {error}") from None
    return kind


def _result(layer: CodedLayer) -> relax.Type:
    data, weight = _shape(layer.data[0]), _shape(layer.weight[0])
    axes = {"conv1d": 3, "conv2d": 4}.get(layer.kind, 2)
    if len(weight) != axes:
        raise TypeError(f"expected a weight with {axes} axes, got {weight}")
    if layer.kind == "take":
        values = layer.weight[1 if _coded(layer) else 0]
        return relax.TensorType([*data, weight[1]], values.ty.dtype)
    dtype = layer.data[0].ty.dtype
    if layer.kind == "matmul":
        if data[-1] != weight[1]:
            raise TypeError(f"x {data} does not fit a weight {weight}")
        return relax.TensorType([*data[:-1], weight[0]], dtype)
    if layer.kind in ("lstm", "gru"):
        return _recurrence(layer, data, weight)
    if len(data) != axes:
        raise TypeError(f"expected x with {axes} axes, got {data}")
    return relax.TensorType([data[0], weight[0], *_window(layer, data, weight)], dtype)


def _recurrence(layer: CodedLayer, data: list[int], weight: list[int]) -> relax.Type:
    gates, states = (4, 2) if layer.kind == "lstm" else (3, 1)
    steps, batch, width = data
    if weight != [width, width // gates]:
        raise TypeError(f"projected {data} does not fit a weight {weight}")
    return relax.TupleType(recurrence_types((steps, batch, width // gates), states))


def _window(layer: CodedLayer, data: list[int], weight: list[int]) -> list[int]:
    """Spatial shape of a convolution."""
    axes = len(data) - 2
    strides, padding, dilation = (
        [int(value) for value in layer.attributes[key]]
        for key in ("strides", "padding", "dilation")
    )
    groups = int(layer.attributes["groups"])
    if data[1] != weight[1] * groups or weight[0] % groups:
        raise TypeError(f"x {data} does not fit a weight {weight} in {groups} groups")
    sizes = []
    for axis in range(axes):
        span = dilation[axis] * (weight[2 + axis] - 1) + 1
        room = data[2 + axis] + padding[axis] + padding[axes + axis] - span
        if room < 0:
            raise TypeError(f"the kernel {weight} is larger than the padded x {data}")
        sizes.append(room // strides[axis] + 1)
    return sizes


def _check_weight(layer: CodedLayer) -> None:
    first = layer.weight[0]
    if _coded(layer):
        codebook = layer.weight[1]
        if _dtype(first) != "uint8" or len(_shape(codebook)) != 1:
            raise TypeError(
                f"expected codes of uint8 and a codebook with one axis, got {_dtype(first)} and "
                f"{_shape(codebook)}"
            )
    elif len(layer.weight) == 2:
        mask = layer.weight[1]
        if _dtype(mask) != "bool" or _shape(mask) != _shape(first):
            raise TypeError(
                f"expected a mask of bool {_shape(first)}, got {_dtype(mask)} {_shape(mask)}"
            )


def _check_epilogue(layer: CodedLayer, arguments: int) -> None:
    epilogue = [part for part in (layer.scale, layer.bias) if part is not None]
    expected = len(layer.data) + len(layer.weight) + len(epilogue)
    if arguments != expected:
        raise TypeError(f"expected {expected} arguments, got {arguments}")
    if epilogue and layer.kind not in ("matmul", "conv1d", "conv2d"):
        raise TypeError("has no scale and no bias")
    channels = _shape(layer.weight[0])[:1]
    for part in epilogue:
        if _shape(part) != channels:
            raise TypeError(f"expected scale and bias of shape {channels}, got {_shape(part)}")


def _coded(layer: CodedLayer) -> bool:
    return layer.family == "codebook"


def _shape(expression: relax.Expr) -> list[int]:
    return [int(size) for size in expression.ty.shape]


def _dtype(expression: relax.Expr) -> str:
    return str(expression.ty.dtype.dtype)


def _build(kind: Kind, family: Family, *arguments: relax.Expr, **attributes: Any) -> relax.Expr:
    """Make a call in TVMScript: ``R.dcc.codebook_matmul(x, codes, codebook, layer="fc1", ...)``."""
    facts = {"layer": "", "form": "", "masked": 0, "scale": 0, "bias": 0}
    return call_operator(f"{family}_{kind}", list(arguments), **{**facts, **attributes})


for _kind, _data in DATA.items():
    for _family in FAMILIES:
        register_operator(
            f"{_family}_{_kind}",
            f"{_kind} that computes from a compressed weight ({' and '.join(WEIGHT[_family])}).",
            [
                (_name, "see dcc.passes.operators.coded_layers")
                for _name in (*_data, *WEIGHT[_family])
            ],
            infer_layer,
            partial(_build, _kind, _family),
        )
