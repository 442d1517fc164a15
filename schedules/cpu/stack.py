"""Keep the small buffers of a kernel on the stack, where LLVM turns them into registers.

TVM 0.27 takes every buffer that a loop allocates from its workspace, however small. LLVM must then
assume that others read it: each step of a kernel stores its sums, and waits for what it stored.

    sums = alloc_buffer((16,), scope="local")
        ->    sums = alloc_buffer((16,), scope="local", annotations={"disable_lower_builtin": True})
"""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import tirx as tir
from tvm.tirx.compilation_pipeline import get_tir_pipeline, register_tir_pipeline

PIPELINE = "dcc.cpu"
"""Name of the TIR pipeline for processors, for ``tvm.compile`` and ``relax.build``."""
STACK_BYTES = 16 * 1024
"""Of one buffer; threads have some megabytes."""
ON_STACK = {"disable_lower_builtin": tir.const(True, "bool")}


def _on_stack(allocation: tir.AllocBuffer) -> tir.Stmt:
    kind = allocation.buffer.ty
    if kind.storage_scope != "local" or not all(isinstance(n, tir.IntImm) for n in kind.shape):
        return allocation
    element = tvm.DataType(str(kind.dtype.dtype))
    size = math.prod(int(n) for n in kind.shape) * element.bits * element.lanes // 8
    if size > STACK_BYTES:
        return allocation
    return tir.AllocBuffer(allocation.buffer, {**allocation.annotations, **ON_STACK})


@tir.transform.prim_func_pass(opt_level=0, name="dcc.LocalsOnStack")
def locals_on_stack(
    function: tir.PrimFunc, _module: tvm.IRModule, _context: tvm.transform.PassContext
) -> tir.PrimFunc:
    """Mark every small local buffer; behind StorageRewrite, which drops the mark."""
    body = tvm_ffi.structural_map(function.body, (tir.AllocBuffer, _on_stack))
    return function.with_body(body)


def _pipeline() -> tuple[tvm.transform.Pass, object, object]:
    lower, finish_host, finish_device = get_tir_pipeline("default")
    return tvm.transform.Sequential([lower, locals_on_stack]), finish_host, finish_device


register_tir_pipeline(PIPELINE, _pipeline)
