"""One entry for the passes and the tuner: a coded layer and its packed weight in, a kernel out.

The layer is described without Relax, so that a tuner can make the same kernel for another packing
of the weight.
"""

from __future__ import annotations

from dataclasses import replace

from tvm import tirx as tir
from tvm.s_tir import SBlock, SBlockRealize

from dcc.codegen.decode_stage import DecodeSpec, fold_decode
from dcc.codegen.packed import PackedWeight, pack
from dcc.codegen.packed_streams import entropy_code, pack_huffman
from dcc.codegen.packing import Packing
from dcc.codegen.vector_units import vector_unit
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.errors import CompileError
from dcc.schedules.cpu.conv import conv
from dcc.schedules.cpu.dense_conv import dense_conv, fits_groups
from dcc.schedules.cpu.dense_matmul import dense_matmul
from dcc.schedules.cpu.expand import expand
from dcc.schedules.cpu.matmul import matmul
from dcc.schedules.cpu.pixel_tiles import PixelTiling
from dcc.schedules.cpu.recurrent import gru, lstm
from dcc.schedules.cpu.take import take
from dcc.schedules.cuda.expand import expand as block_expand
from dcc.schedules.cuda.kernels import build_block_kernel
from dcc.schedules.cuda.sizes import BlockSizes
from dcc.schedules.epilogue import Epilogue
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import Tunables
from dcc.targets.target import Target


def in_root_block(function: tir.PrimFunc) -> tir.PrimFunc:
    """Wrap a kernel's body in the root block that TVM's graph passes expect of every function.

    One that a schedule has made is returned as it is.
    """
    if isinstance(function.body, SBlockRealize):
        return function
    root = SBlockRealize([], True, SBlock([], [], [], "root", function.body))
    return tir.PrimFunc(function.params, root, function.ret_type, function.attrs)


def pack_for(weight: WeightMatrix, form: Form, packing: Packing) -> PackedWeight:
    """Pack ``weight`` for a kernel; the symbols of the huffman form stay uncoded."""
    if form == "huffman":
        return pack_huffman(weight, packing)
    return pack(weight, form, packing)


def accumulator_type(shape: LayerShape, packed: PackedWeight) -> str:
    """float64 where data or weight are, float32 otherwise."""
    types = {array.dtype.name for array in packed.arrays.values()} | {shape.dtype}
    return "float64" if "float64" in types else "float32"


def pixel_tiling(chosen: Tunables | None, target: Target) -> PixelTiling:
    """Sizes of the pixel kernel: its own where nothing else is chosen."""
    tiling = PixelTiling(threads=target.cores)
    if target.scratch_bytes:
        half = target.scratch_bytes // 2
        panel, decoded = min(tiling.panel_bytes, half), min(tiling.decoded_bytes, half)
        tiling = replace(tiling, panel_bytes=panel, decoded_bytes=decoded)
    if chosen is not None and chosen.tile_vectors is not None:
        tiling = replace(tiling, tile_vectors=chosen.tile_vectors)
    if chosen is not None and chosen.panel_kilobytes is not None:
        tiling = replace(tiling, panel_bytes=1024 * chosen.panel_kilobytes)
    return tiling


def build_kernel(
    shape: LayerShape, packed: PackedWeight, target: Target, tunables: Tunables | None = None
) -> tir.PrimFunc:
    """Make the kernel of a layer over ``packed``; without ``tunables`` by the default schedule.

    Its parameters are the data, the packed arrays in their order, scale and bias where the layer
    has them, the results.
    """
    accumulator = accumulator_type(shape, packed)
    if target.gpu is not None:
        sizes = tunables.sizes if tunables is not None else BlockSizes()
        return build_block_kernel(shape, packed, target, accumulator, sizes)
    in_flight = tunables.in_flight if tunables is not None else None
    unit = vector_unit(target.features, packed.lanes)
    epilogue = Epilogue(packed.rows, shape.dtype, shape.scale, shape.bias, shape.activation)
    tiling = pixel_tiling(tunables, target)
    if shape.kind == "take":
        return take(packed, shape.samples, shape.index_dtype, shape.dtype)
    dense = packed.form == "dense" and shape.by_pixels
    if shape.kind == "matmul" and dense:
        return dense_matmul(
            packed,
            shape.samples,
            shape.dtype,
            epilogue,
            accumulator,
            vector=target.vector_floats,
        )
    if shape.kind == "matmul":
        return matmul(
            packed,
            shape.samples,
            shape.dtype,
            epilogue,
            accumulator,
            vector=target.vector_floats,
            unit=unit,
            in_flight=in_flight,
            tiling=tiling,
        )
    spatial = 1 if shape.kind == "conv1d" else 2
    if shape.geometry is not None and dense and fits_groups(packed, shape.geometry):
        return dense_conv(
            packed,
            shape.geometry,
            shape.dtype,
            epilogue,
            accumulator,
            vector=target.vector_floats,
            spatial=spatial,
        )
    if shape.geometry is not None:
        return conv(
            packed,
            shape.geometry,
            shape.dtype,
            epilogue,
            accumulator,
            vector=target.vector_floats,
            spatial=spatial,
            unit=unit,
            tiling=tiling,
        )
    if shape.recurrence is None:
        raise CompileError(f"no kernel for a layer of kind '{shape.kind}'")
    if shape.kind == "lstm":
        flag = shape.flags["input_forget"]
        return lstm(packed, shape.recurrence, input_forget=flag, vectors=unit)
    flag = shape.flags["linear_before_reset"]
    return gru(packed, shape.recurrence, linear_before_reset=flag, vectors=unit)


def build_decoder(
    packed: PackedWeight, shape: tuple[int, ...], lanes: int, target: Target
) -> tir.PrimFunc:
    """Make the kernel that decodes ``packed`` into a dense weight of ``shape`` for its kernel.

    ``lanes`` are those of the dense form that the layer's kernel reads.
    """
    if target.gpu is not None:
        return block_expand(packed, shape)
    return expand(packed, shape, lanes=lanes)


def fold_kernel(
    kernel: tir.PrimFunc, packed: PackedWeight, features: frozenset[str]
) -> tuple[tir.PrimFunc, PackedWeight]:
    """Entropy-code the symbols of a huffman layout and fold their decoding into its kernel.

    ``features`` are those of the target for which the kernel was built. Returns the kernel over
    what is stored, and what is stored.
    """
    coded = entropy_code(packed)
    unit = vector_unit(features, packed.lanes)
    return fold_decode(kernel, DecodeSpec.of(coded, unit)), coded
