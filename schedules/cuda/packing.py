"""How weights are packed for kernels of thread blocks: the default schedule."""

from __future__ import annotations

from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Gpu

CODE_LENGTH = 10
"""Bits of the longest code: its table of 4 KB stands in shared memory beside the inputs."""
RESERVED_BYTES = 14 * 1024
"""Of shared memory, for decode tables, codebook, and columns that padding runs past."""
ENTRIES_OF_A_PART = 4
"""A thread with fewer entries than these waits longer for its memory than it works."""


def block_packing(shape: LayerShape, form: Form, gpu: Gpu, weight: WeightMatrix) -> Packing:
    """Return the packing of the default schedule."""
    whole = Packing(1, code_length=CODE_LENGTH if form == "huffman" else None)
    if form == "dense" or shape.kind != "matmul" or shape.by_pixels:
        return whole
    item = 8 if "float64" in (shape.dtype, weight.dtype.name) else 4
    floats = (gpu.shared_bytes - RESERVED_BYTES) // (item * shape.samples)
    phases = max(-(-weight.columns // floats), 1)
    block_rows = gpu.warp
    entries = weight.columns if form == "codebook" else weight.columns * weight.density
    # As many threads as a block may have, and shared memory for the sums of all of them.
    most = min(gpu.block_threads, floats) // block_rows
    segments = 1
    while segments * 2 <= most and entries / phases / (segments * 2) >= ENTRIES_OF_A_PART:
        segments *= 2
    return Packing(
        gpu.warp,
        sort=form != "codebook",
        code_length=whole.code_length,
        segments=segments,
        block_rows=block_rows,
        phases=phases,
    )
