"""A coded layer and its packed weight in, a kernel of thread blocks out."""

from __future__ import annotations

from tvm import tirx as tir

from dcc.codegen.packed import PackedWeight
from dcc.errors import CompileError
from dcc.schedules.cuda.dense import dense_matmul
from dcc.schedules.cuda.gemm import gemm
from dcc.schedules.cuda.gemm_tile import GemmTile
from dcc.schedules.cuda.pixels import conv, many_samples
from dcc.schedules.cuda.recurrent import gru, lstm
from dcc.schedules.cuda.sizes import BlockSizes
from dcc.schedules.cuda.split_rows import split_rows
from dcc.schedules.cuda.take import take
from dcc.schedules.cuda.tensor_gemm import tensor_gemm
from dcc.schedules.cuda.tensor_tile import parts_of
from dcc.schedules.cuda.tiles import default_tile, in_tiles
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Target


def build_block_kernel(
    shape: LayerShape,
    packed: PackedWeight,
    target: Target,
    accumulator: str,
    sizes: BlockSizes,
) -> tir.PrimFunc:
    """Make the kernel of a layer over ``packed``; see ``schedules.kernels.build_kernel``."""
    assert target.gpu is not None
    epilogue = Epilogue(packed.rows, shape.dtype, shape.scale, shape.bias, shape.activation)
    if shape.kind == "take":
        return take(packed, shape.samples, shape.index_dtype, shape.dtype)
    if in_tiles(shape, packed.form) and accumulator == "float32" and packed.lanes == 1:
        return _in_tiles(shape, packed, target, epilogue, sizes)
    if packed.form == "dense" and shape.kind == "matmul":
        return dense_matmul(shape, packed, accumulator, target)
    if shape.geometry is not None:
        spatial = 1 if shape.kind == "conv1d" else 2
        return conv(
            packed,
            shape.geometry,
            shape.dtype,
            epilogue,
            accumulator,
            spatial=spatial,
            threads=sizes.pixel_threads,
            pixels=sizes.thread_pixels,
        )
    if shape.kind == "matmul" and packed.split is not None:
        return split_rows(packed, shape.samples, shape.dtype, epilogue, accumulator)
    if shape.kind == "matmul":
        return many_samples(
            packed,
            shape.samples,
            shape.dtype,
            epilogue,
            accumulator,
            threads=sizes.pixel_threads,
            pixels=sizes.thread_pixels,
        )
    if shape.recurrence is None:
        raise CompileError(f"no kernel for a layer of kind '{shape.kind}'")
    if shape.kind == "lstm":
        flag = shape.flags["input_forget"]
        return lstm(packed, shape.recurrence, input_forget=flag, gpu=target.gpu)
    flag = shape.flags["linear_before_reset"]
    return gru(packed, shape.recurrence, linear_before_reset=flag, gpu=target.gpu)


def _in_tiles(
    shape: LayerShape, packed: PackedWeight, target: Target, epilogue: Epilogue, sizes: BlockSizes
) -> tir.PrimFunc:
    """Make the kernel of a product in tiles."""
    assert target.gpu is not None
    values = packed.arrays["values" if packed.form == "dense" else "codebook"]
    default = default_tile(
        shape, packed.rows, packed.columns, parts_of(values), target.gpu, sizes.on_tensor_cores
    )
    tile = sizes.tile(default)
    if isinstance(tile, GemmTile):
        return gemm(packed, shape.dtype, epilogue, tile)
    return tensor_gemm(packed, shape.dtype, epilogue, tile, target.kind == "cuda")
