"""Matrix product with a compressed weight.

Rows run in lockstep for few samples; many samples are what pixels are to a convolution.
"""

from __future__ import annotations

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.packed import PackedWeight
from dcc.codegen.vector_units import VectorUnit
from dcc.schedules.cpu.decoded_entries import pixel_reader
from dcc.schedules.cpu.division import divide
from dcc.schedules.cpu.panels import turned_panels
from dcc.schedules.cpu.pixel_stores import TurnedStore
from dcc.schedules.cpu.pixel_tiles import PixelTiling, choose_tiles
from dcc.schedules.cpu.pixels import PixelKernel
from dcc.schedules.cpu.product import emit_product, make_reader
from dcc.schedules.cpu.rows import worth_parallel
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.layer_shape import MANY_SAMPLES
from dcc.schedules.weight_reader import Expr, argument


def matmul(
    packed: PackedWeight,
    samples: int,
    dtype: str,
    epilogue: Epilogue,
    accumulator: str,
    *,
    vector: int,
    unit: VectorUnit | None = None,
    in_flight: int | None = None,
    tiling: PixelTiling | None = None,
) -> tir.PrimFunc:
    """Kernel ``y[m, o] = epilogue(sum_k x[m, k] * weight[o, k])``.

    Parameters of the kernel: x (samples, columns), the packed arrays, scale and bias, y (samples,
    rows). ``vector`` is the width of a vector register in elements, ``in_flight`` how many slices
    of the rows kernel run interleaved.
    """
    if samples < MANY_SAMPLES:
        return _few_samples(packed, samples, dtype, epilogue, accumulator, unit, in_flight)
    tiling = tiling or PixelTiling()
    geometry = ConvGeometry(1, packed.columns, 1, samples, packed.rows, (1, 1))
    tiles = choose_tiles(geometry, vector, tiling.tile_vectors)
    division = divide(packed, tiles, tiling.threads, tiling.decoded_bytes)
    reader = pixel_reader(packed, accumulator, unit)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("pixels")
        x = argument("x", (samples, packed.columns), dtype)
        reader.declare()
        epilogue.declare()
        y = argument("y", (samples, packed.rows), dtype)
        panels = turned_panels(x, tiles, accumulator)

        store = TurnedStore(reader, tiles, epilogue, y)
        block = tiling.block(tiles, accumulator)
        PixelKernel(reader, tiles, division, panels, block, store).emit()
    return builder.get()


def _few_samples(
    packed: PackedWeight,
    samples: int,
    dtype: str,
    epilogue: Epilogue,
    accumulator: str,
    unit: VectorUnit | None,
    in_flight: int | None,
) -> tir.PrimFunc:
    """Kernel ``y[m, o] = epilogue(sum_k x[m, k] * weight[o, k])`` for a few samples.

    Parameters of the kernel: x (samples, columns), the packed arrays, scale and bias, y (samples,
    rows).
    """
    reader = make_reader(packed, samples, dtype, accumulator, unit)
    with IRBuilder() as builder, T.prim_func():
        T.func_name(reader.rows_schedule)
        x = argument("x", (samples, packed.columns), dtype)
        reader.declare()
        epilogue.declare()
        y = argument("y", (samples, packed.rows), dtype)

        def store(sample: Expr, row: Expr, total: Expr) -> None:
            T.buffer_store(y, epilogue.apply(total, row, dtype), [sample, row])

        work = packed.steps * packed.lanes * samples
        emit_product(reader, samples, x, store, parallel=worth_parallel(work), in_flight=in_flight)
    return builder.get()
