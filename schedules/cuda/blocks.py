"""What kernels of thread blocks are made of: launches, shared memory, barriers, shares of loops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tvm import tirx as tir
from tvm.backend.cuda.op import cuda_func_call
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.schedules.weight_reader import Expr, allocate


@contextmanager
def launch(blocks: int, threads: int) -> Iterator[tuple[Expr, Expr]]:
    """Run the region in ``blocks`` blocks of ``threads`` threads; gives both numbers."""
    with (
        T.launch_thread("blockIdx.x", blocks) as block,
        T.launch_thread("threadIdx.x", threads) as thread,
    ):
        yield block, thread


def at_least(blocks: int) -> AbstractContextManager[None]:
    """Have the compiler limit the registers of a region, so that so many blocks run at a time."""
    return T.attr(0, "tirx.launch_bounds_min_blocks_per_sm", blocks)


def shared(name: str, size: int, dtype: str) -> tir.Buffer:
    """Allocate memory that the threads of a block share."""
    return allocate(name, (max(size, 1),), dtype, "shared")


def barrier() -> None:
    """Let all threads of the block arrive before one goes on."""
    T.evaluate(T.tvm_storage_sync("shared"))


@contextmanager
def each(count: int, thread: Expr, threads: int) -> Iterator[Expr]:
    """Share a loop of ``count`` passes out over the threads, neighbours to neighbours."""
    with T.serial(0, -(-count // threads)) as turn:
        IRBuilder.name("turn", turn)
        place = turn * threads + thread
        if count % threads == 0:
            yield place
            return
        with T.If(place < count), T.Then():
            yield place


LOADS = {
    ("float32", 4): ("dcc_load_4", "float", "v4.f32", "=f"),
    ("float32", 1): ("dcc_load_1", "float", "f32", "=f"),
    ("uint32", 1): ("dcc_load_word", "unsigned int", "u32", "=r"),
}
LOAD_WIDTHS = {function[0]: width for (_, width), function in LOADS.items()}
"""Elements that each function loads."""


def load_in_order(target: tir.Buffer, at: int, source: tir.Buffer, place: list[Expr]) -> bool:
    """Load neighbours of ``source`` to registers from ``at`` on, by an instruction of CUDA's own.

    Ordinary loads of what nobody writes may pass barriers, and the compiler moves them to where
    they are used: too late to wait for. These stay between two barriers.

    Returns
    -------
    bool
        False where there is no such load of this type: nothing was emitted.
    """
    width = 4 if isinstance(place[-1], tir.Ramp) else 1
    kind = LOADS.get((str(source.ty.dtype), width))
    if kind is None or str(target.ty.dtype) != str(source.ty.dtype):
        return False
    name, c_type, suffix, constraint = kind
    outputs = ", ".join(f'"{constraint}"(to[{n}])' for n in range(width))
    registers = ", ".join(f"%{n}" for n in range(width))
    registers = f"{{{registers}}}" if width > 1 else registers
    code = f"""
__forceinline__ __device__ void {name}({c_type}* to, const {c_type}* from) {{
  asm volatile("ld.global.{suffix} {registers}, [%{width}];" : {outputs} : "l"(from));
}}
"""
    last = place[-1].base if width > 1 else place[-1]
    start = source[(*place[:-1], last)]
    addresses = tir.address_of(target[at]), tir.address_of(start)
    T.evaluate(cuda_func_call(name, *addresses, source_code=code))
    return True


def assign(buffer: tir.Buffer, value: Expr | float, place: Expr | int = 0) -> None:
    """Store to a buffer of one axis; numbers get its type."""
    kind = str(buffer.ty.dtype)
    T.buffer_store(
        buffer, tir.const(value, kind) if isinstance(value, int | float) else value, [place]
    )


def variable(name: str, dtype: str, value: Expr | float) -> tir.Buffer:
    """Declare a variable of a thread."""
    buffer = allocate(name, (1,), dtype)
    assign(buffer, value)
    return buffer
