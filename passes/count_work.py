"""Count what a module does in one run: its scheduled kernels, call by call.

Each call's own counts are those of ``dcc.schedules.work``, which takes the caches for empty.
Between calls, a tensor is still in the last cache level if what was touched since its last use fits
there with it; then it comes from there, and if that holds for all its uses, it never goes to main
memory. Weights and inputs come from main memory once in each run; outputs go there. Precondition:
kernels are scheduled, and their constants are still arguments of the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import GenericConst

from dcc.codegen.work import CallWork, ModuleWork
from dcc.errors import DccError
from dcc.passes.fold_huffman_decode import CALL_TIR
from dcc.passes.legalize_coded_layers import EXPAND, LAYER
from dcc.passes.parameters import MAIN, result_types
from dcc.schedules.work.kernel import KernelWork, behind_caches, count_kernel
from dcc.targets.target import Target

_RENAMES = ("relax.reshape", "relax.memory.view", "relax.expand_dims", "relax.squeeze")
_SILENT = ("relax.shape_of", "relax.shape_to_tensor", "relax.null_value")


@dataclass(eq=False)
class _Tensor:
    """A value of the graph.

    Attributes
    ----------
    weight
        Whether it is a constant, or decoded from one when the module is loaded.
    outside
        Whether it comes from or goes to the caller.
    """

    nbytes: float
    weight: bool = False
    outside: bool = False
    array: Any = None


@dataclass
class _Step:
    """One call: what it counts, and its tensors in the order of the kernel's parameters."""

    kernel: str
    layer: str
    work: KernelWork
    inputs: list[_Tensor]
    outputs: list[_Tensor]

    @property
    def tensors(self) -> list[tuple[_Tensor, float, bool]]:
        """Each tensor, the bytes of it that are touched, and whether it is written."""
        every = [*((t, False) for t in self.inputs), *((t, True) for t in self.outputs)]
        return [(t, self.work.touched.get(n, 0.0), wrote) for n, (t, wrote) in enumerate(every)]

    @property
    def touched(self) -> float:
        """Bytes of all its tensors."""
        return sum(size for _, size, _ in self.tensors)


def count_work(module: tvm.IRModule, target: Target) -> ModuleWork:
    """Count one run of ``main``; what cannot be counted is noted, nothing raises."""
    reader = _Reader(module, target)
    try:
        outputs = reader.function(module[MAIN], None)
    except (DccError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        reader.note(f"the rest of the model is not counted ({error})")
        outputs = []
    for tensor in outputs:
        tensor.outside = True
    calls = _between_calls(reader.steps, target.caches.last_level)
    every = {id(t): t for step in reader.steps for t, _, _ in step.tensors}
    return ModuleWork(
        target.energy,
        target.caches.last_level,
        sum(tensor.nbytes for tensor in every.values()),
        tuple(calls),
        tuple(_alone(step) for step in reader.load),
        tuple(reader.notes),
    )


@dataclass
class _Reader:
    module: tvm.IRModule
    target: Target
    steps: list[_Step] = field(default_factory=list)
    load: list[_Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    values: dict[Any, list[_Tensor]] = field(default_factory=dict)
    counted: dict[Any, KernelWork] = field(default_factory=dict)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def function(
        self, function: relax.Function, arguments: list[list[_Tensor]] | None
    ) -> list[_Tensor]:
        """Read a function of the graph; the model's own inputs come from outside."""
        for number, parameter in enumerate(function.params):
            given = None if arguments is None else arguments[number]
            outside = _tensors(parameter.ty, outside=True)
            self.values[parameter] = outside if given is None else given
        return self._body(function.body)

    def _body(self, body: Any) -> list[_Tensor]:
        if not isinstance(body, relax.SeqExpr):
            return self._value(body)
        for block in body.blocks:
            for binding in block.bindings:
                self.values[binding.var] = self._value(binding.value)
        return self._value(body.body)

    def _value(self, expression: Any) -> list[_Tensor]:
        if isinstance(expression, GenericConst):
            return [self._constant(expression)]
        if isinstance(expression, relax.Tuple):
            return [tensor for each in expression.fields for tensor in self._value(each)]
        if isinstance(expression, relax.TupleGetItem):
            whole = self._value(expression.tuple_value)
            index = int(expression.index)
            return [whole[index]] if index < len(whole) else _tensors(expression.ty)
        if isinstance(expression, relax.If):
            return self._branches(expression)
        if isinstance(expression, relax.Call):
            return self._call(expression)
        # Variables, by what they were bound to.
        found = self.values.get(expression) if isinstance(expression, relax.Var) else None
        return _tensors(expression.ty) if found is None else found

    def _constant(self, constant: GenericConst) -> _Tensor:
        if constant not in self.values:
            array = np.from_dlpack(constant.value)
            self.values[constant] = [_Tensor(array.nbytes, weight=True, array=array)]
        return self.values[constant][0]

    def _branches(self, branch: relax.If) -> list[_Tensor]:
        """Of the two branches, the one that moves more."""
        before = len(self.steps)
        results, taken = [], []
        for body in (branch.true_branch, branch.false_branch):
            results.append(self._body(body))
            taken.append(self.steps[before:])
            del self.steps[before:]
        costs = [sum(step.work.bytes["level1"] for step in steps) for steps in taken]
        larger = int(costs[1] > costs[0])
        self.steps += taken[larger]
        self.note("of two branches, the one that moves more bytes is counted")
        return results[larger]

    def _call(self, call: relax.Call) -> list[_Tensor]:
        if isinstance(call.op, tvm.ir.GlobalVar):
            callee = self.module[call.op]
            if isinstance(callee, relax.Function):
                return self.function(callee, [self._value(each) for each in call.args])
        name = str(getattr(call.op, "name", ""))
        if name == CALL_TIR:
            return self._kernel(call)
        if name in _RENAMES:
            return self._value(call.args[0])
        if name == "relax.call_dps_packed" and "accelerator" in str(call.args[0]):
            return _tensors(call.ty)  # counted from its streams
        if name not in _SILENT:
            self.note(f"'{name.removeprefix('relax.')}' of TVM's runtime is not counted")
        return _tensors(call.ty)

    def _kernel(self, call: relax.Call) -> list[_Tensor]:
        kernel = self.module[call.args[0]]
        inputs = [tensor for each in call.args[1].fields for tensor in self._value(each)]
        outputs = [each for kind in result_types(call) for each in _tensors(kind)]
        name = str(call.args[0].name_hint)
        constants = {n: t.array for n, t in enumerate(inputs) if _is_whole(t.array)}
        key = (name, *(id(array) for array in constants.values()))
        if key not in self.counted:
            self.counted[key] = self._count(kernel, constants)
        work = self.counted[key]
        for text in work.notes:
            self.note(f"{name}: {text}")
        layer = str(kernel.attrs[LAYER]) if LAYER in kernel.attrs else ""
        step = _Step(name, layer, work, inputs, outputs)
        if EXPAND in kernel.attrs:
            self.load.append(step)
            for tensor in outputs:
                tensor.weight = True
        else:
            self.steps.append(step)
        return outputs

    def _count(self, kernel: Any, constants: dict[int, Any]) -> KernelWork:
        """Count a kernel; one that defeats the counting must not stop a compilation."""
        try:
            return count_kernel(kernel, constants, self.target)
        except Exception as error:
            levels = ("level1", *(name for name, _ in behind_caches(self.target)))
            said = f"not counted ({type(error).__name__}: {error})"
            return KernelWork({}, dict.fromkeys(levels, 0.0), {}, (said,))


def _is_whole(array: Any) -> bool:
    return array is not None and np.issubdtype(array.dtype, np.integer)


def _tensors(kind: Any, *, outside: bool = False) -> list[_Tensor]:
    """Tensors of a type; what has no fixed shape takes no bytes."""
    if isinstance(kind, relax.TupleType):
        return [each for part in kind.fields for each in _tensors(part, outside=outside)]
    shape = getattr(kind, "shape", None)
    sizes = [] if shape is None else list(shape)
    if not isinstance(kind, relax.TensorType) or not all(
        isinstance(size, int | tvm.tirx.IntImm) for size in sizes
    ):
        return [_Tensor(0.0, outside=outside)]
    bits = tvm.DataType(str(kind.dtype.dtype)).bits
    size = float(np.prod([int(n) for n in sizes], dtype=np.float64)) * max(bits, 8) / 8
    return [_Tensor(size, outside=outside)]


def _alone(step: _Step) -> CallWork:
    return CallWork(step.kernel, step.layer, step.work.operations, step.work.bytes)


def _between_calls(steps: Sequence[_Step], last_level: int) -> list[CallWork]:
    """Take from each call's traffic with main memory what the last cache level still holds."""
    used: dict[int, float] = {}  # bytes touched before the last use of each tensor was over
    saved = [0.0] * len(steps)
    weights = [0.0] * len(steps)
    written: dict[int, tuple[int, float]] = {}
    missed: set[int] = set()
    passed = 0.0
    for number, step in enumerate(steps):
        for tensor, size, wrote in step.tensors:
            if wrote:
                written[id(tensor)] = (number, size)
                continue
            since = passed - used[id(tensor)] if id(tensor) in used else None
            if since is not None and since + tensor.nbytes <= last_level:
                saved[number] += size
                continue
            missed.add(id(tensor))
            weights[number] += size if tensor.weight else 0.0
        passed += step.touched
        used |= {id(tensor): passed for tensor, _, _ in step.tensors}
    outside = {id(t) for step in steps for t, _, _ in step.tensors if t.outside}
    for key, (number, size) in written.items():
        if key not in missed and key not in outside:
            saved[number] += size
    return [
        CallWork(
            step.kernel,
            step.layer,
            step.work.operations,
            step.work.bytes | {"dram": max(step.work.bytes["dram"] - less, 0.0)},
            weight,
        )
        for step, less, weight in zip(steps, saved, weights, strict=True)
    ]
