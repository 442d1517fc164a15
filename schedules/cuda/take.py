"""Rows of a compressed embedding by index: a block decodes a row."""

from __future__ import annotations

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cuda.blocks import assign, barrier, each, launch, variable
from dcc.schedules.weight_reader import WeightReader, argument, bind

THREADS = 128


def take(packed: PackedWeight, count: int, index_dtype: str, dtype: str) -> tir.PrimFunc:
    """Kernel ``y[i, :] = weight[indices[i], :]``; negative indices count from the end, as in ONNX.

    Parameters of the kernel: indices (count), the packed arrays (of one lane), y (count, columns).
    """
    reader, columns = WeightReader(packed, dtype), packed.columns
    lane = tir.const(0, "int32")
    with IRBuilder() as builder, T.prim_func():
        T.func_name("take")
        indices = argument("indices", (count,), index_dtype)
        reader.declare()
        y = argument("y", (count, columns), dtype)
        with launch(count, THREADS) as (item, thread):
            wanted = bind("wanted", tir.Cast("int32", indices[item]))
            turned = tir.Select(wanted < 0, wanted + packed.rows, wanted)
            row = bind("row", tir.max(tir.min(turned, packed.rows - 1), 0))
            if packed.form in ("dense", "codebook"):
                with each(columns, thread, THREADS) as place:
                    _, value = reader.read(row, place, lane)
                    T.buffer_store(y, value, [item, place])
            else:
                with each(columns, thread, THREADS) as place:
                    T.buffer_store(y, tir.const(0, dtype), [item, place])
                barrier()
                with T.If(thread == 0), T.Then():
                    _decode(reader, row, y, item)
    return builder.get()


def _decode(reader: WeightReader, row: tir.Expr, y: tir.Buffer, item: tir.Expr) -> None:
    """Write the entries of a row to their columns, by one thread: a stream has one reader."""
    column = variable("column", "int32", -1)
    with (
        reader.stream(row),
        T.serial(0, reader.steps(row)) as step,
        reader.each_lane(row, step) as (_lane, gap, value),
    ):
        assign(column, column[0] + gap + 1)
        place = bind("place", tir.min(column[0], reader.packed.columns - 1))
        # Fillers hold zeros, and the last of them may stand on a column that is not zero.
        with T.If(column[0] < reader.packed.columns), T.Then():
            T.buffer_store(y, value, [item, place])
