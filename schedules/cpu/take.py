"""Rows of a compressed embedding by index: each looked-up row is decoded on its own."""

from __future__ import annotations

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.errors import CompileError
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.weight_reader import WeightReader, allocate, argument, bind


def take(packed: PackedWeight, count: int, index_dtype: str, dtype: str) -> tir.PrimFunc:
    """Kernel ``y[i, :] = weight[indices[i], :]``; negative indices count from the end, as in ONNX.

    Parameters of the kernel: indices (count), the packed arrays (packed with one lane), y (count,
    columns).
    """
    if packed.lanes != 1:
        raise CompileError(f"a weight for lookup is packed with 1 lane, got {packed.lanes}")
    reader = WeightReader(packed, dtype)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("take")
        indices = argument("indices", (count,), index_dtype)
        reader.declare()
        y = argument("y", (count, packed.columns), dtype)
        loop = T.parallel if worth_parallel(count * packed.columns) else T.serial
        with loop(0, count) as item:
            wanted = bind("wanted", tir.Cast("int32", indices[item]))
            turned = tir.Select(wanted < 0, wanted + packed.rows, wanted)
            row = bind("row", tir.max(tir.min(turned, packed.rows - 1), 0))
            column = allocate("column", (1,), "int32")
            T.buffer_store(column, tir.const(-1, "int32"), [0])
            with T.serial(0, packed.columns) as place:
                T.buffer_store(y, tir.const(0, dtype), [item, place])
            with reader.stream(row), T.serial(0, reader.steps(row)) as step:
                gap, value = reader.read(row, step, tir.const(0, "int32"))
                T.buffer_store(column, column[0] + gap + 1, [0])
                place = bind("place", tir.min(column[0], packed.columns - 1))
                T.buffer_store(y, value, [item, place])
    return builder.get()
