"""What kernels of thread blocks are made of: launches, shared memory, barriers, shares of loops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tvm import tirx as tir
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
