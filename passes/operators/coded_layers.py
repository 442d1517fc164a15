"""Layers that compute from a compressed weight: ``relax.dcc.codebook_*`` and ``relax.dcc.raw_*``.

``codebook`` layers read codes and a codebook, ``raw`` layers read values and, where the weight is pruned, a mask. Kinds:

========  =========================================  =====================================================
matmul    x (..., K), weight (N, K)                  (..., N)
conv1d    x (N, C, W), weight (O, C / groups, KW)    attributes strides, padding (left, right), dilation, groups
conv2d    x (N, C, H, W), weight (O, C / groups, KH, KW)   padding (top, left, bottom, right)
take      indices, weight (V, D)                     indices.shape + (D,)
lstm      projected, initial hidden, initial cell, weight (4 H, H)
gru       projected, recurrent bias, initial hidden, weight (3 H, H)
========  =========================================  =====================================================

Arguments of a call: the data, the weight's one or two tensors, then ``scale`` and ``bias`` of the epilogue, each (N) or
(O), as far as the attributes of that name are 1. Further attributes: ``layer`` (the weight's name), ``form`` (storage
form, empty until it is chosen), ``minimum`` and ``maximum`` (bounds of the activation, absent where there is none).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from tvm import relax
from tvm.ir import Call

from dcc.passes.operators.recurrent import recurrence_types
from dcc.passes.operators.registration import call_operator, register_operator

Kind = Literal["matmul", "conv1d", "conv2d", "take", "lstm", "gru"]
Family = Literal["codebook", "raw"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FAMILIES: tuple[Family, ...] = get_args(Family)
DATA_ARGUMENTS: dict[Kind, int] = {
    "matmul": 1,
    "conv1d": 1,
    "conv2d": 1,
    "take": 1,
    "lstm": 3,
    "gru": 3,
}


@dataclass(frozen=True)
class CodedLayer:
    """The parts of a call of a coded layer."""

    kind: Kind
    family: Family
    data: list[relax.Expr]
    weight: list[relax.Expr]
    scale: relax.Expr | None
    bias: relax.Expr | None
    attributes: dict[str, Any]

    def call(self) -> relax.Call:
        """The call that these parts describe."""
        epilogue = [part for part in (self.scale, self.bias) if part is not None]
        facts = {
            "layer": "",
            "form": "",
            **self.attributes,
            "masked": int(self.family == "raw" and len(self.weight) == 2),
            "scale": int(self.scale is not None),
            "bias": int(self.bias is not None),
        }
        name = f"{self.family}_{self.kind}"
        return call_operator(name, [*self.data, *self.weight, *epilogue], **facts)


def coded_layer(expression: relax.Expr) -> CodedLayer | None:
    """Take a call of a coded layer apart; None where ``expression`` is something else."""
    name = getattr(getattr(expression, "op", None), "name", "")
    if not isinstance(expression, relax.Call) or not name.startswith("relax.dcc."):
        return None
    family, _, kind = name.removeprefix("relax.dcc.").partition("_")
    if family not in FAMILIES or kind not in KINDS:
        return None
    attributes = {key: expression.attrs[key] for key in expression.attrs.keys()}
    arguments = list(expression.args)
    count = DATA_ARGUMENTS[kind]
    weights = 2 if family == "codebook" or attributes["masked"] else 1
    rest = arguments[count + weights :]
    scale = rest.pop(0) if attributes["scale"] else None
    bias = rest.pop(0) if attributes["bias"] else None
    return CodedLayer(
        kind, family, arguments[:count], arguments[count : count + weights], scale, bias, attributes
    )


def _shape(expression: relax.Expr) -> list[int]:
    return [int(size) for size in expression.ty.shape]


def _infer(call: Call, _builder: relax.BlockBuilder) -> relax.Type:
    layer = coded_layer(call)
    assert layer is not None
    weight = _shape(layer.weight[0])
    data = _shape(layer.data[0])
    dtype = layer.data[0].ty.dtype
    if layer.kind == "matmul":
        if len(weight) != 2 or data[-1] != weight[1]:
            raise TypeError(f"{call.op.name}: x {data} does not fit a weight {weight}")
        return relax.TensorType([*data[:-1], weight[0]], dtype)
    if layer.kind == "take":
        if len(weight) != 2:
            raise TypeError(f"{call.op.name}: the weight must have 2 axes, got {weight}")
        return relax.TensorType(
            [*data, weight[1]], layer.weight[-1 if layer.family == "codebook" else 0].ty.dtype
        )
    if layer.kind in ("lstm", "gru"):
        gates, states = (4, 2) if layer.kind == "lstm" else (3, 1)
        steps, batch, width = data
        if weight != [width, width // gates]:
            raise TypeError(f"{call.op.name}: projected {data} does not fit a weight {weight}")
        return relax.TupleType(recurrence_types((steps, batch, width // gates), states))
    return relax.TensorType([data[0], weight[0], *_window(call, layer, data, weight)], dtype)


def _window(call: Call, layer: CodedLayer, data: list[int], weight: list[int]) -> list[int]:
    """Spatial shape of a convolution."""
    axes = len(data) - 2
    strides, padding, dilation = (
        [int(v) for v in layer.attributes[key]] for key in ("strides", "padding", "dilation")
    )
    groups = int(layer.attributes["groups"])
    if data[1] != weight[1] * groups or weight[0] % groups:
        raise TypeError(
            f"{call.op.name}: x {data} does not fit a weight {weight} in {groups} groups"
        )
    sizes = []
    for axis in range(axes):
        span = dilation[axis] * (weight[2 + axis] - 1) + 1
        room = data[2 + axis] + padding[axis] + padding[axes + axis] - span
        if room < 0:
            raise TypeError(
                f"{call.op.name}: the kernel {weight} is larger than the padded x {data}"
            )
        sizes.append(room // strides[axis] + 1)
    return sizes


def _build(kind: Kind, family: Family, *arguments: relax.Expr, **attributes: Any) -> relax.Expr:
    """Make a call in TVMScript: ``R.dcc.codebook_matmul(x, codes, codebook, layer="fc1", ...)``."""
    facts = {"layer": "", "form": "", "masked": 0, "scale": 0, "bias": 0}
    return call_operator(f"{family}_{kind}", list(arguments), **{**facts, **attributes})


def _register(kind: Kind, family: Family, data: Sequence[str]) -> None:
    weight = ["codes", "codebook"] if family == "codebook" else ["values", "mask"]
    builder: Callable[..., relax.Expr] = partial(_build, kind, family)
    register_operator(
        f"{family}_{kind}",
        f"{kind} that computes from a compressed weight ({' and '.join(weight)}).",
        [(name, "see dcc.passes.operators.coded_layers") for name in [*data, *weight]],
        _infer,
        builder,
    )


for _kind, _data in (
    ("matmul", ["x"]),
    ("conv1d", ["x"]),
    ("conv2d", ["x"]),
    ("take", ["indices"]),
    ("lstm", ["projected", "initial_hidden", "initial_cell"]),
    ("gru", ["projected", "recurrent_bias", "initial_hidden"]),
):
    for _family in FAMILIES:
        _register(_kind, _family, _data)  # type: ignore[arg-type]
