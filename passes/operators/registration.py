"""Registration of Relax operators: the only module that uses TVM's private ``RegisterOp``.

An operator named ``relax.dcc.x`` is printed and parsed as ``R.dcc.x`` in TVMScript.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TypeAlias

import tvm
import tvm.relax.script
import tvm.script.parser.relax
from tvm import relax
from tvm.ir import Call, Op, _ffi_api, register_op_attr
from tvm.relax.transform.legalize_ops.common import register_legalize

Infer: TypeAlias = "Callable[[Call, relax.BlockBuilder], relax.Type]"
Legalize: TypeAlias = "Callable[[relax.BlockBuilder, Call], relax.Expr]"

# What ``R.dcc`` is: while a script is written in Python, and while one is parsed from text.
_NAMESPACE = SimpleNamespace()
tvm.relax.script.dcc = _NAMESPACE
tvm.script.parser.relax.dcc = _NAMESPACE


def register_operator(
    name: str,
    description: str,
    inputs: Sequence[tuple[str, str]],
    infer: Infer,
    builder: Callable[..., relax.Expr],
    legalize: Legalize | None = None,
) -> None:
    """Register the pure operator ``relax.dcc.<name>``.

    Parameters
    ----------
    name
        Name below ``relax.dcc``.
    description
        One sentence for the operator's documentation.
    inputs
        (name, description) of each input, in order.
    infer
        Type of a call; raises ``TypeError`` where the inputs do not fit.
    builder
        Python function that makes a call; it becomes ``R.dcc.<name>`` in TVMScript.
    legalize
        Lowering to a PrimFunc for ``LegalizeOps``; without one the operator needs a pass of its
        own.
    """
    full_name = f"relax.dcc.{name}"
    _ffi_api.RegisterOp(full_name, description)
    operator = Op.get(full_name)
    operator.set_num_inputs(len(inputs))
    for argument, text in inputs:
        operator.add_argument(argument, "Tensor", text)
    register_op_attr(full_name, "FInferType", infer)
    register_op_attr(full_name, "FPurity", True)
    if legalize is not None:
        register_legalize(full_name, legalize)
    setattr(_NAMESPACE, name, builder)


def call_operator(name: str, inputs: Sequence[relax.Expr], **attributes: int) -> relax.Expr:
    """Make a call of ``relax.dcc.<name>`` with static facts as attributes."""
    facts = tvm.ir.make_node("ir.DictAttrs", **attributes)
    return relax.Call(Op.get(f"relax.dcc.{name}"), list(inputs), facts)
