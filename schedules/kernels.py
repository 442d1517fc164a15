"""One entry for the passes and the tuner: a coded layer and its packed weight in, a kernel out.

The layer is described without Relax, so that a tuner can make the same kernel for another packing
of the weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tvm import tirx as tir
from tvm.s_tir import SBlock, SBlockRealize

from dcc.codegen.decode_stage import DecodeSpec, fold_decode
from dcc.codegen.packed import PackedWeight, pack
from dcc.codegen.packed_streams import entropy_code, pack_huffman
from dcc.codegen.vector_units import vector_unit
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.errors import CompileError
from dcc.schedules.cpu.conv import conv
from dcc.schedules.cpu.epilogue import Activation, Epilogue
from dcc.schedules.cpu.geometry import ConvGeometry
from dcc.schedules.cpu.matmul import MANY_SAMPLES, matmul
from dcc.schedules.cpu.recurrent import Recurrence, gru, lstm
from dcc.schedules.cpu.take import take
from dcc.targets.target import Target

KernelKind = Literal["matmul", "conv1d", "conv2d", "take", "lstm", "gru"]

# Lanes of a slice where pixels or samples are the vector: rows share nothing but the decoding.
PIXEL_LANES = 4


@dataclass(frozen=True)
class LayerShape:
    """What a kernel computes, apart from the weight.

    Attributes
    ----------
    samples
        Rows of x of a matmul, looked-up indices of a take.
    dtype
        Type of the data and the result; ``index_dtype`` that of the indices of a take.
    """

    kind: KernelKind
    dtype: str = "float32"
    samples: int = 1
    geometry: ConvGeometry | None = None
    recurrence: Recurrence | None = None
    flags: dict[str, bool] = field(default_factory=dict)
    scale: bool = False
    bias: bool = False
    activation: Activation = field(default_factory=Activation)
    index_dtype: str = "int64"

    @property
    def pixels(self) -> int:
        """How often each weight is used: output pixels, samples, or time steps."""
        if self.geometry is not None:
            return self.geometry.batch * self.geometry.out_height * self.geometry.out_width
        if self.recurrence is not None:
            return self.recurrence.batch * self.recurrence.steps
        return self.samples

    @property
    def ordinary_when_dense(self) -> bool:
        """Whether the dense form is the ordinary operator, with the schedules that those have."""
        return self.geometry is not None or (self.kind == "matmul" and self.samples >= MANY_SAMPLES)


def in_root_block(function: tir.PrimFunc) -> tir.PrimFunc:
    """Wrap a kernel's body in the root block that TVM's graph passes expect of every function."""
    root = SBlockRealize([], True, SBlock([], [], [], "root", function.body))
    return tir.PrimFunc(function.params, root, function.ret_type, function.attrs)


def default_lanes(shape: LayerShape, target: Target) -> int:
    """How many rows a slice of the default schedule has."""
    if shape.kind == "take":
        return 1
    if shape.geometry is not None or (shape.kind == "matmul" and shape.samples >= MANY_SAMPLES):
        return PIXEL_LANES
    return target.vector_floats


def pack_for(weight: WeightMatrix, form: Form, lanes: int, kind: KernelKind) -> PackedWeight:
    """Pack ``weight`` for a kernel; the symbols of the huffman form stay uncoded."""
    # A lookup finds its row by number, and the GRU computes a range of rows apart.
    sort = kind not in ("take", "gru")
    if form == "huffman":
        return pack_huffman(weight, lanes, sort=sort)
    return pack(weight, form, lanes, sort=sort)


def accumulator_type(shape: LayerShape, packed: PackedWeight) -> str:
    """float64 where data or weight are, float32 otherwise."""
    types = {array.dtype.name for array in packed.arrays.values()} | {shape.dtype}
    return "float64" if "float64" in types else "float32"


def build_kernel(shape: LayerShape, packed: PackedWeight, target: Target) -> tir.PrimFunc:
    """Make the kernel of a layer over ``packed``.

    Its parameters are the data, the packed arrays in their order, scale and bias where the layer
    has them, the results.
    """
    accumulator = accumulator_type(shape, packed)
    unit = vector_unit(target.features, packed.lanes)
    epilogue = Epilogue(packed.rows, shape.dtype, shape.scale, shape.bias, shape.activation)
    if shape.kind == "take":
        return take(packed, shape.samples, shape.index_dtype, shape.dtype)
    if shape.kind == "matmul":
        return matmul(
            packed,
            shape.samples,
            shape.dtype,
            epilogue,
            accumulator,
            vector=target.vector_floats,
            unit=unit,
        )
    if shape.geometry is not None:
        return conv(
            packed,
            shape.geometry,
            shape.dtype,
            epilogue,
            accumulator,
            vector=target.vector_floats,
            spatial=1 if shape.kind == "conv1d" else 2,
        )
    if shape.recurrence is None:
        raise CompileError(f"no kernel for a layer of kind '{shape.kind}'")
    if shape.kind == "lstm":
        flag = shape.flags["input_forget"]
        return lstm(packed, shape.recurrence, input_forget=flag, vectors=unit)
    flag = shape.flags["linear_before_reset"]
    return gru(packed, shape.recurrence, linear_before_reset=flag, vectors=unit)


def fold_kernel(
    kernel: tir.PrimFunc, packed: PackedWeight, features: frozenset[str]
) -> tuple[tir.PrimFunc, PackedWeight]:
    """Entropy-code the symbols of a huffman layout and fold their decoding into its kernel.

    ``features`` are those of the target for which the kernel was built. Returns the kernel over
    what is stored, and what is stored.
    """
    coded = entropy_code(packed)
    unit = vector_unit(features, packed.lanes)
    halfwords = int(coded.arrays["stream"].size)
    spec = DecodeSpec(packed.symbols, packed.code_length, halfwords, unit)
    return fold_decode(kernel, spec), coded
