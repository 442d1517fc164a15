"""How weights are packed for kernels of thread blocks: the default schedule.

Its rules give each of the nine layers of ``benchmarks/layers.py`` the packing that was fastest on
an H200, or nearly so, of the blocks of 32x16, 32x32, 16x32, 16x64 and 8x64 (rows x segments).
"""

from __future__ import annotations

from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Gpu

CODE_LENGTH = 10
"""Bits of the longest code: its table of 4 KB stands in shared memory beside the inputs."""
TABLES = 2
"""Most tables of the huffman form: gaps and codes."""
GAP_BITS = 5
"""Bits of a gap in the huffman form, where most gaps fit them."""
DENSE = 0.5
"""Density from which on a code for every column may take fewer bytes than gaps."""
BLOCK_THREADS, MOST_ROWS, MOST_SEGMENTS = 512, 32, 64
LEAST_ENTRIES: dict[Form, float] = {"sparse": 3, "codebook": 3, "huffman": 2}
"""A thread with fewer entries than these waits longer for its memory than it works."""
ENTRIES_OF_FEW_ROWS = 6
"""Entries a thread from which on blocks of few rows pay where multiprocessors lack a block."""
ENTRIES_OF_STREAMS = 8
"""Entries a thread from which on more streams pay, whose symbols wait for each other."""


def block_packing(shape: LayerShape, form: Form, gpu: Gpu, weight: WeightMatrix) -> Packing:
    """Return the packing of the default schedule."""
    code_length = CODE_LENGTH if form == "huffman" else None
    if form == "dense" or shape.kind != "matmul" or shape.by_pixels:
        return Packing(1, code_length=code_length)
    room = floats_of_a_sample(shape, form, gpu, weight)
    block_rows, segments = _block(form, weight, gpu, room)
    # Shared memory takes the sums of all threads, too.
    while segments > 1 and block_rows * segments > min(room, gpu.block_threads):
        segments //= 2
    block_rows = max(block_rows, gpu.warp // segments)
    return Packing(
        gpu.warp,
        sort=form != "codebook",
        gap_bits=_gap_bits(form, weight),
        code_length=code_length,
        segments=segments,
        block_rows=block_rows,
        phases=phases_of(weight.columns, segments, room),
        # Parts are padded to whole loads: two words are four entries.
        load_words=2 if form == "sparse" and segments == MOST_SEGMENTS // 2 else 1,
    )


def _block(form: Form, weight: WeightMatrix, gpu: Gpu, room: int) -> tuple[int, int]:
    """Rows and segments of a block."""
    every = form == "codebook" or weight.mask is None
    entries = weight.columns if every else weight.columns * weight.density
    segments = MOST_SEGMENTS // 2
    while segments > 1 and entries / segments < LEAST_ENTRIES[form]:
        segments //= 2
    if every:
        return MOST_ROWS, segments
    each = entries / MOST_SEGMENTS
    block_rows = min(BLOCK_THREADS // segments, MOST_ROWS)
    if -(-weight.rows // block_rows) < gpu.multiprocessors and each >= ENTRIES_OF_FEW_ROWS:
        return BLOCK_THREADS // MOST_SEGMENTS, MOST_SEGMENTS
    # Threads wait for each other between phases, symbols for those before: more threads hide it.
    phases = phases_of(weight.columns, segments, room)
    least = ENTRIES_OF_STREAMS if form == "huffman" else 0
    many = each >= least and each / phases >= LEAST_ENTRIES[form]
    if many and (phases > 1 or form == "huffman"):
        return block_rows, MOST_SEGMENTS
    return block_rows, segments


def phases_of(columns: int, segments: int, room: int) -> int:
    """Count the ranges of columns whose inputs a block holds one after the other."""
    # Padding runs past the last column: a part has at most its share of the columns, and fillers.
    reach = columns * (1 + 1 / segments + 1 / (1 << GAP_BITS))
    return max(int(-(-reach // max(room, 1))), 1)


def _gap_bits(form: Form, weight: WeightMatrix) -> int | None:
    """Bits of a gap; None leaves them to the encoder.

    In the sparse form they make an entry of two bytes, which needs hardly any fillers.
    """
    if form == "huffman":
        return GAP_BITS if 1 / (1 << GAP_BITS) <= weight.density <= DENSE else None
    return max(9 - weight.code_bits, 1) if form == "sparse" else None


def floats_of_a_sample(
    shape: LayerShape, form: Form, gpu: Gpu, weight: WeightMatrix, code_length: int | None = None
) -> int:
    """Count the inputs of a sample that shared memory has room for."""
    item = 8 if "float64" in (shape.dtype, weight.dtype.name) else 4
    tables = TABLES * 4 << (code_length or CODE_LENGTH) if form == "huffman" else 0
    codebook = 0 if weight.codebook is None else weight.codebook.size * item
    return (gpu.shared_bytes - tables - codebook) // (item * shape.samples)
