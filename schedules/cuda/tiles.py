"""Which layers are computed in tiles, and by which of the kernels."""

from __future__ import annotations

from dcc.codegen.weight_matrix import Form
from dcc.schedules.cuda.gemm_tile import GemmTile, default_gemm_tile
from dcc.schedules.cuda.tensor_tile import TensorTile, default_tensor_tile
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Gpu


def in_tiles(shape: LayerShape, form: Form) -> bool:
    """Whether a layer is a product that is computed so: values, or codes of many samples."""
    if shape.kind != "matmul" or shape.dtype == "float64":
        return False
    return shape.samples > 1 if form == "dense" else form == "codebook" and shape.by_pixels


def default_tile(
    shape: LayerShape,
    rows: int,
    columns: int,
    parts: int | None,
    gpu: Gpu,
    tensor_cores: bool | None = None,
) -> GemmTile | TensorTile:
    """Return the tile of the default schedule.

    Parameters
    ----------
    parts
        Values of TF32 that make up one of the weight's, see ``parts_of``.
    tensor_cores
        Whether they are taken, where the card has them and the values can be split; None takes
        what should take less time.
    """
    of_threads = default_gemm_tile(shape.samples, rows, columns, gpu)
    if parts is None or not gpu.tensor_multiplications or tensor_cores is False:
        return of_threads
    input_parts = 1 if shape.dtype == "float16" else 2
    of_warps = default_tensor_tile(shape.samples, rows, columns, (parts, input_parts), gpu)
    if tensor_cores or of_warps.nanoseconds(gpu) <= of_threads.nanoseconds(gpu):
        return of_warps
    return of_threads
