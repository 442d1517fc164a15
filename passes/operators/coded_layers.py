"""Layers that compute from a compressed weight: ``relax.dcc.codebook_*`` and ``relax.dcc.raw_*``.

``codebook`` layers read codes and a codebook, ``raw`` layers read values and, where the weight is
pruned, a mask. Kinds, with the data that a layer reads, its weight and its result:

======  =========================================  =======================  =================
matmul  x (..., K)                                 (N, K)                   (..., N)
conv1d  x (B, C, W)                                (O, C / groups, KW)      (B, O, W')
conv2d  x (B, C, H, W)                             (O, C / groups, KH, KW)  (B, O, H', W')
take    indices                                    (V, D)                   indices' + (D,)
lstm    projected, initial hidden, initial cell    (4 U, U)                 see ``recurrent``
gru     projected, recurrent bias, initial hidden  (3 U, U)                 see ``recurrent``
======  =========================================  =======================  =================

Arguments of a call: the data, the weight's one or two tensors, then ``scale`` and ``bias`` of the
epilogue, one value for each output channel, as far as the attributes of that name are 1. Further
attributes: ``layer`` (the weight's name), ``form`` (storage form, empty until it is chosen),
``tunables`` (values of a tuned candidate as JSON, absent for the default schedule),
``minimum`` and ``maximum`` (bounds of the activation, absent where there is none), and of
convolutions ``strides``, ``padding`` (all begins, then all ends), ``dilation`` and ``groups``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from tvm import relax

from dcc.passes.operators.registration import call_operator

Kind = Literal["matmul", "conv1d", "conv2d", "take", "lstm", "gru"]
Family = Literal["codebook", "raw"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TUNABLES = "tunables"
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
        """Make the call that these parts describe."""
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
    attributes = {str(key): value for key, value in expression.attrs.items()}
    arguments = list(expression.args)
    count = DATA_ARGUMENTS[kind]
    weights = 2 if family == "codebook" or attributes["masked"] else 1
    rest = arguments[count + weights :]
    scale = rest.pop(0) if attributes["scale"] else None
    bias = rest.pop(0) if attributes["bias"] else None
    return CodedLayer(
        kind, family, arguments[:count], arguments[count : count + weights], scale, bias, attributes
    )
