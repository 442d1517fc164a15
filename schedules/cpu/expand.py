"""The decoder of the dense form: the packed weight expanded once, when the module is loaded."""

from __future__ import annotations

import math

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.rows import guard, worth_parallel
from dcc.schedules.weight_reader import Expr, WeightReader, allocate, argument, value_dtype


def expand(
    packed: PackedWeight,
    shape: tuple[int, ...],
    *,
    lanes: int | None = None,
) -> tir.PrimFunc:
    """Kernel that decodes all of ``packed`` into a dense weight of ``shape``, which has any axes.

    Its elements are (rows, columns) in C order; the (slices, columns, lanes) of the dense form if
    ``lanes`` is given. Parameters of the kernel: the packed arrays, the dense weight.
    """
    dtype = value_dtype(packed)
    size = math.prod(shape)

    def position(row: Expr, column: Expr) -> Expr:
        if lanes is not None:
            slice_of, lane = tir.floordiv(row, lanes), tir.floormod(row, lanes)
            return (slice_of * packed.columns + column) * lanes + lane
        return row * packed.columns + column

    reader = WeightReader(packed, dtype)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("expand")
        reader.declare()
        out = argument("expanded", shape, dtype)
        flat = IRBuilder.name("flat", T.decl_buffer((size,), dtype, data=out.data))
        loop = T.parallel if worth_parallel(size) else T.serial
        with loop(0, packed.slices) as index:
            column = allocate("column", (packed.lanes,), "int32")
            with T.serial(0, packed.lanes) as lane:
                T.buffer_store(column, tir.const(-1, "int32"), [lane])
                row = reader.row(index, lane)
                with guard(row, packed), T.serial(0, packed.columns) as place:
                    T.buffer_store(flat, tir.const(0, dtype), [position(row, place)])
            with (
                reader.stream(index),
                T.serial(0, reader.steps(index)) as step,
                reader.each_lane(index, step) as (lane, gap, value),
            ):
                T.buffer_store(column, column[lane] + gap + 1, [lane])
                row, place = reader.row(index, lane), column[lane]
                with T.If(tir.And(row < packed.rows, place < packed.columns)), T.Then():
                    T.buffer_store(flat, value, [position(row, place)])
    return builder.get()
