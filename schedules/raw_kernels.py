"""Kernels as plain C functions: pointers in, no runtime of TVM behind them.

    kernel(x: Buffer, y: Buffer)    ->    void name(float* x, float* y, uint8_t* scratch)

Loops are serial. What a kernel would take from TVM's workspace stands at fixed offsets behind
``scratch``, whose size is known here. TVM's StorageRewrite has let buffers share by then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx as tir
from tvm.tirx.compilation_pipeline import get_tir_pipeline

from dcc.errors import CompileError
from dcc.schedules.cpu.stack import PIPELINE
from dcc.targets.target import Target

ALIGNMENT = 64
_LOWERED = 1
"""Calling convention of a function that ``MakePackedAPI`` leaves as it is."""


@dataclass(frozen=True)
class RawKernels:
    """Compiled functions.

    Attributes
    ----------
    module
        TVM's module of machine code: ``inspect_source("asm")``, ``write_to_file("kernels.o")``.
    scratch
        Bytes behind the last pointer of each function, by its name.
    """

    module: tvm.runtime.Module
    scratch: dict[str, int]


def build_raw(functions: Mapping[str, tir.PrimFunc], target: Target) -> RawKernels:
    """Compile kernels as C functions of their names.

    Parameters
    ----------
    functions
        Scheduled kernels over buffers of fixed shape.

    Raises
    ------
    CompileError
        A kernel cannot be a plain function: its shapes are not fixed.
    """
    raw = {name: _over_pointers(function, name) for name, function in functions.items()}
    tvm_target = target.tvm_target()
    with tvm.transform.PassContext(opt_level=3, config={"tirx.disable_assert": True}):
        module = tir.transform.BindTarget(tvm_target)(tvm.IRModule(raw))
        lower, finish, _ = get_tir_pipeline(PIPELINE)
        module = lower(module)
        scratch = {}
        for variable, function in module.functions_items():
            moved, size = _with_scratch(function)
            scratch[variable.name_hint] = size
            module[variable] = moved
        module = finish()(module)
        return RawKernels(tvm.target.codegen.build_module(module, tvm_target), scratch)


def _over_pointers(function: tir.PrimFunc, name: str) -> tir.PrimFunc:
    """Replace the buffers among the parameters by pointers, and parallel loops by serial ones."""
    pointers, declarations = [], []
    for number, buffer in enumerate(function.params):
        if not isinstance(buffer, tir.Buffer):
            raise CompileError(
                f"kernel '{name}' takes '{buffer}', which is no tensor: fix the shapes of the "
                "inputs"
            )
        kind = tvm.ir.PointerType(tvm.ir.PrimType(str(buffer.ty.dtype.dtype)))
        pointers.append(tir.Var(f"p{number}", kind))
        declarations.append(tir.DeclBuffer(buffer, data=pointers[-1]))
    body = tvm_ffi.structural_map(function.body, (tir.For, _serial))
    inner = getattr(body, "block", None)
    if inner is not None:
        block = tvm.s_tir.SBlock(
            inner.iter_vars,
            inner.reads,
            inner.writes,
            inner.name_hint,
            tir.SeqStmt([*declarations, inner.body]),
            inner.init,
            inner.alloc_buffers,
            inner.match_buffers,
            inner.annotations,
        )
        body = tvm.s_tir.SBlockRealize(body.iter_values, body.predicate, block)
    else:
        body = tir.SeqStmt([*declarations, body])
    raw = tir.PrimFunc(pointers, body, function.ret_type)
    raw = raw.with_attr("global_symbol", name).with_attr("calling_conv", _LOWERED)
    return raw.with_attr("tirx.noalias", True)


def _serial(loop: tir.For) -> tir.Stmt:
    if loop.kind != tir.ForKind.PARALLEL:
        return loop
    return tir.For(loop.loop_var, loop.min, loop.extent, tir.ForKind.SERIAL, loop.body)


def _with_scratch(function: tir.PrimFunc) -> tuple[tir.PrimFunc, int]:
    """Move what stands in no register or on no stack behind a last pointer; returns its size."""
    scratch = tir.Var("scratch", tvm.ir.PointerType(tvm.ir.PrimType("uint8")))
    size = 0

    def move(allocation: tir.AllocBuffer) -> tir.Stmt:
        nonlocal size
        if "disable_lower_builtin" in allocation.annotations:
            return allocation
        offset = size
        size = offset + _round_up(_bytes(allocation.buffer))
        pointer = tir.handle_add_byte_offset(scratch, offset) if offset else scratch
        return tir.DeclBuffer(allocation.buffer, data=pointer)

    body = tvm_ffi.structural_map(function.body, (tir.AllocBuffer, move))
    moved = tir.PrimFunc([*function.params, scratch], body, function.ret_type, function.attrs)
    return moved, size


def _bytes(buffer: tir.Buffer) -> int:
    kind = buffer.ty
    if not all(isinstance(each, tir.IntImm) for each in kind.shape):
        raise CompileError(f"buffer '{buffer.name}' of a kernel has no fixed shape")
    element = tvm.DataType(str(kind.dtype.dtype))
    return -(-math.prod(int(n) for n in kind.shape) * element.bits * element.lanes // 8)


def _round_up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
