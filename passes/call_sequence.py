"""Read a lowered ``main`` as a straight sequence of kernel calls over tensors of fixed size.

Precondition: ``LinkWeights``; every operator is a ``call_tir`` or only renames its argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from dcc.errors import CompileError
from dcc.passes.fold_huffman_decode import CALL_TIR
from dcc.passes.parameters import MAIN

_RENAMES = ("relax.reshape", "relax.memory.view", "relax.expand_dims", "relax.squeeze")


@dataclass(frozen=True)
class TensorValue:
    """An input, a constant or a result of a kernel; values are equal only to themselves.

    Attributes
    ----------
    constant
        Its elements, where it is one.
    """

    number: int
    nbytes: int
    constant: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class KernelCall:
    """One step: a kernel by its name, what it reads and what it writes."""

    kernel: str
    inputs: tuple[TensorValue, ...]
    outputs: tuple[TensorValue, ...]


@dataclass
class CallSequence:
    """A whole model."""

    inputs: list[TensorValue] = field(default_factory=list)
    outputs: list[TensorValue] = field(default_factory=list)
    calls: list[KernelCall] = field(default_factory=list)


def call_sequence(module: tvm.IRModule) -> CallSequence:
    """Read ``main`` of ``module``.

    Raises
    ------
    CompileError
        It branches, calls the runtime or has tensors whose sizes are not fixed.
    """
    return _Reader().read(module[MAIN])


class _Reader:
    def __init__(self) -> None:
        self.sequence = CallSequence()
        self.values: dict[relax.Var, tuple[TensorValue, ...]] = {}
        self.count = 0

    def read(self, function: relax.Function) -> CallSequence:
        for parameter in function.params:
            value = self._new(parameter.ty)
            self.values[parameter] = (value,)
            self.sequence.inputs.append(value)
        body = function.body
        for block in body.blocks:
            for binding in block.bindings:
                self.values[binding.var] = self._evaluate(binding.value)
        self.sequence.outputs = list(self._evaluate(body.body))
        return self.sequence

    def _evaluate(self, expression: relax.Expr) -> tuple[TensorValue, ...]:
        if isinstance(expression, relax.Var):
            return self.values[expression]
        if isinstance(expression, GenericConst):
            return (self._constant(expression),)
        if isinstance(expression, relax.Tuple):
            return tuple(part for each in expression.fields for part in self._evaluate(each))
        if isinstance(expression, relax.TupleGetItem):
            return (self._evaluate(expression.tuple_value)[int(expression.index)],)
        name = getattr(getattr(expression, "op", None), "name", "")
        if name == CALL_TIR:
            return self._call(expression)
        if name in _RENAMES:
            return self._evaluate(expression.args[0])
        what = name or type(expression).__name__
        raise CompileError(
            f"the model needs TVM's runtime ('{what.removeprefix('relax.')}': branches, shapes or "
            "operators that are not fixed when it is compiled): deploy it without --standalone"
        )

    def _call(self, call: relax.Call) -> tuple[TensorValue, ...]:
        inputs = tuple(part for each in call.args[1].fields for part in self._evaluate(each))
        types = call.ty_args[0]
        parts = list(types.fields) if isinstance(types, relax.TupleType) else [types]
        outputs = tuple(self._new(part) for part in parts)
        self.sequence.calls.append(KernelCall(call.args[0].name_hint, inputs, outputs))
        return outputs

    def _constant(self, constant: GenericConst) -> TensorValue:
        array = np.ascontiguousarray(constant.value.numpy())
        self.count += 1
        return TensorValue(self.count, array.nbytes, array)

    def _new(self, kind: relax.TensorType) -> TensorValue:
        if not isinstance(kind, relax.TensorType):
            raise CompileError(f"the model has a value of type {kind}: deploy without --standalone")
        shape = [int(size) for size in kind.shape]
        dtype = str(kind.dtype.dtype)
        self.count += 1
        bits = tvm.DataType(dtype).bits
        return TensorValue(self.count, int(np.prod(shape, dtype=np.int64)) * -(-bits // 8))
