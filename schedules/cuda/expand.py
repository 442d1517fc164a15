"""The decoder of the dense form: the packed weight expanded once, when the module is loaded."""

from __future__ import annotations

import math

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cuda.blocks import assign, each, launch, variable
from dcc.schedules.weight_reader import WeightReader, argument, value_dtype

THREADS = 32


def expand(packed: PackedWeight, shape: tuple[int, ...]) -> tir.PrimFunc:
    """Kernel that decodes all of ``packed`` (of one lane) into a dense weight of ``shape``.

    Its elements are (rows, columns) in C order, whatever its axes. A thread decodes a row.
    Parameters of the kernel: the packed arrays, the dense weight.
    """
    dtype = value_dtype(packed)
    reader = WeightReader(packed, dtype)
    blocks = -(-packed.slices // THREADS)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("expand")
        reader.declare()
        out = argument("expanded", shape, dtype)
        flat = IRBuilder.name("flat", T.decl_buffer((math.prod(shape),), dtype, data=out.data))
        with (
            launch(blocks, THREADS) as (block, thread),
            each(packed.slices, block * THREADS + thread, blocks * THREADS) as index,
        ):
            row = reader.row(index, tir.const(0, "int32"))
            with T.serial(0, packed.columns) as place:
                assign(flat, tir.const(0, dtype), row * packed.columns + place)
            column = variable("column", "int32", -1)
            with (
                reader.stream(index),
                T.serial(0, reader.steps(index)) as step,
                reader.each_lane(index, step) as (_lane, gap, value),
            ):
                assign(column, column[0] + gap + 1)
                with T.If(column[0] < packed.columns), T.Then():
                    assign(flat, value, row * packed.columns + column[0])
    return builder.get()
