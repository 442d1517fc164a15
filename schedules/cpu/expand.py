"""The decoder of the dense form: the packed weight expanded once, when the module is loaded."""

from __future__ import annotations

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.cpu.weight_reader import WeightReader, allocate, argument


def expand(packed: PackedWeight) -> tir.PrimFunc:
    """Kernel that decodes all of ``packed`` into values (slices, columns, lanes), as the dense form packs them.

    Parameters of the kernel: the packed arrays, values.
    """
    dtype = _value_dtype(packed)
    reader = WeightReader(packed, dtype)
    with IRBuilder() as builder:
        with T.prim_func():
            T.func_name("expand")
            reader.declare()
            out = argument("expanded", (packed.slices, packed.columns, packed.lanes), dtype)
            loop = T.parallel if worth_parallel(packed.rows * packed.columns) else T.serial
            with loop(0, packed.slices) as index:
                column = allocate("column", (packed.lanes,), "int32")
                row = allocate("rows", (packed.lanes,), "int32")
                with T.serial(0, packed.lanes) as lane:
                    T.buffer_store(column, tir.const(-1, "int32"), [lane])
                    # Lanes without a row write where the dense form has no row either.
                    spare = packed.slices * packed.lanes - 1
                    T.buffer_store(row, tir.min(reader.row(index, lane), spare), [lane])
                with T.grid(packed.columns, packed.lanes) as (place, lane):
                    at = [tir.floordiv(row[lane], packed.lanes), place, tir.floormod(row[lane], packed.lanes)]
                    T.buffer_store(out, tir.const(0, dtype), at)
                with (
                    reader.stream(index),
                    T.serial(0, reader.steps(index)) as step,
                    T.serial(0, packed.lanes) as lane,
                ):
                    gap, value = reader.read(index, step, lane)
                    T.buffer_store(column, column[lane] + gap + 1, [lane])
                    with T.If(column[lane] < packed.columns), T.Then():
                        slice_of, lane_of = (
                            part(row[lane], packed.lanes) for part in (tir.floordiv, tir.floormod)
                        )
                        T.buffer_store(out, value, [slice_of, column[lane], lane_of])
    return builder.get()


def _value_dtype(packed: PackedWeight) -> str:
    name = "codebook" if "codebook" in packed.arrays else "values"
    return packed.arrays[name].dtype.name
