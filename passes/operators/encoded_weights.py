"""``relax.dcc.apply_mask`` and ``relax.dcc.lookup``: a compressed weight as the graph sees it.

weight -> apply_mask(weight, mask)            pruning
apply_mask(weight, mask) -> lookup(codes, codebook)     sharing; code 0 is a pruned weight's zero
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tvm import relax, te
from tvm import tirx as tir
from tvm.ir import Call

from dcc.passes.operators.registration import call_operator, register_operator


def apply_mask(weight: relax.Expr, mask: relax.Expr) -> relax.Expr:
    """Call ``relax.dcc.apply_mask``: ``weight`` where ``mask`` (bool, its shape) is set, else zero.

    ``[1.5, -2.0, 0.5]`` masked by ``[True, False, True]`` is ``[1.5, 0.0, 0.5]``.
    """
    return call_operator("apply_mask", [weight, mask])


def lookup(codes: relax.Expr, codebook: relax.Expr) -> relax.Expr:
    """Call ``relax.dcc.lookup``: ``codebook[codes]``, codes uint8 of any shape, codebook (entries).

    Codes ``[[2, 0], [1, 2]]`` of codebook ``[0, -0.5, 0.75]`` are ``[[0.75, 0], [-0.5, 0.75]]``.
    """
    return call_operator("lookup", [codes, codebook])


def apply_mask_reference(
    weight: npt.NDArray[np.generic], mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.generic]:
    """Numpy oracle of ``apply_mask``."""
    return np.where(mask, weight, np.zeros((), weight.dtype))


def lookup_reference(
    codes: npt.NDArray[np.uint8], codebook: npt.NDArray[np.generic]
) -> npt.NDArray[np.generic]:
    """Numpy oracle of ``lookup``."""
    return codebook[codes]


def _infer_mask(call: Call, _builder: relax.BlockBuilder) -> relax.Type:
    weight, mask = (argument.ty for argument in call.args)
    if [int(n) for n in weight.shape] != [int(n) for n in mask.shape]:
        raise TypeError(f"relax.dcc.apply_mask: weight {weight.shape} and mask {mask.shape} differ")
    if str(mask.dtype.dtype) != "bool":
        raise TypeError(f"relax.dcc.apply_mask: the mask must be bool, got {mask.dtype.dtype}")
    return weight


def _infer_lookup(call: Call, _builder: relax.BlockBuilder) -> relax.Type:
    codes, codebook = (argument.ty for argument in call.args)
    if str(codes.dtype.dtype) != "uint8":
        raise TypeError(f"relax.dcc.lookup: codes must be uint8, got {codes.dtype.dtype}")
    if codebook.ndim != 1:
        raise TypeError(f"relax.dcc.lookup: the codebook must have one axis, got {codebook.ndim}")
    return relax.TensorType(codes.shape, codebook.dtype)


def _legalize_mask(builder: relax.BlockBuilder, call: Call) -> relax.Expr:
    def masked(weight: te.Tensor, mask: te.Tensor) -> te.Tensor:
        zero = tir.const(0, weight.dtype)
        return te.compute(
            weight.shape, lambda *at: tir.Select(mask[at], weight[at], zero), name="apply_mask"
        )

    return builder.call_te(masked, *call.args, primfunc_name_hint="apply_mask")


def _legalize_lookup(builder: relax.BlockBuilder, call: Call) -> relax.Expr:
    def looked_up(codes: te.Tensor, codebook: te.Tensor) -> te.Tensor:
        return te.compute(
            codes.shape, lambda *at: codebook[codes[at].astype("int32")], name="lookup"
        )

    return builder.call_te(looked_up, *call.args, primfunc_name_hint="lookup")


register_operator(
    "apply_mask",
    "A weight with its pruned positions set to zero.",
    [("weight", "the weight"), ("mask", "bool, the weight's shape")],
    _infer_mask,
    apply_mask,
    _legalize_mask,
)
register_operator(
    "lookup",
    "A weight as indices into a codebook.",
    [("codes", "uint8, the weight's shape"), ("codebook", "the values, one axis")],
    _infer_lookup,
    lookup,
    _legalize_lookup,
)
