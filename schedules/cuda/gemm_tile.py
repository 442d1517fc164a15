"""How a product of a dense weight with some samples is cut into tiles, and what that should take.

The estimate counts what the card has to do: multiplications in the tiles, and bytes. It chooses how
often the columns are split, and stands for the kernel in the cost model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from dcc.codegen.weight_matrix import Form
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Gpu

GROUP = 4
"""Elements of a vector load: 16 bytes."""
THREAD_SAMPLES, BLOCK_SAMPLES = 8, 64
BLOCK_ROWS = 128
DEPTH = 16
THREADS_AT_A_TIME = 384
"""Threads of a multiprocessor that hide the latency of their multiplications."""
EFFICIENCY = 0.62
"""Share of the cycles that multiply. Of 100 instructions 90 do (``docs/cuda.md``); cuBLAS reaches
0.66 to 0.70 on the same layers."""
LATENCY = 800.0
"""Nanoseconds from asking for a part of the columns to having it: no step is shorter."""
REDUCTION = 2500.0
"""Nanoseconds of a second kernel, beside its traffic."""
WORD_BYTES = 4


@dataclass(frozen=True)
class GemmTile:
    """Sizes of the kernel in ``gemm``.

    Attributes
    ----------
    samples, rows, columns
        Of the product.
    thread_samples, thread_rows
        Results of a thread; rows come in groups of four.
    sample_threads, row_threads
        Threads of a block along each axis.
    depth
        Columns that stand in shared memory at a time, twice: one part is loaded meanwhile.
    split
        Blocks that share the columns of a tile; above 1 a second kernel adds their sums up.
    """

    samples: int
    rows: int
    columns: int
    thread_samples: int
    thread_rows: int
    sample_threads: int
    row_threads: int
    depth: int = DEPTH
    split: int = 1

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.sample_threads * self.row_threads

    @property
    def block_samples(self) -> int:
        """Samples of a block."""
        return self.thread_samples * self.sample_threads

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return self.thread_rows * self.row_threads

    @property
    def steps(self) -> int:
        """Parts of ``depth`` columns of a block."""
        return -(-self._depths // self.split)

    @property
    def _depths(self) -> int:
        return max(-(-self.columns // self.depth), 1)

    @property
    def sample_tiles(self) -> int:
        """Blocks along the samples."""
        return -(-self.samples // self.block_samples)

    @property
    def row_tiles(self) -> int:
        """Blocks along the rows."""
        return -(-self.rows // self.block_rows)

    @property
    def blocks(self) -> int:
        """Blocks of the first kernel."""
        return self.sample_tiles * self.row_tiles * self.split

    @property
    def sample_stride(self) -> int:
        """Elements from a column of the samples in shared memory to the next."""
        return -(-self.block_samples // GROUP) * GROUP + GROUP

    @property
    def row_stride(self) -> int:
        """Elements from a column of the weight in shared memory to the next."""
        return self.block_rows + GROUP

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block, without a codebook."""
        return 2 * WORD_BYTES * self.depth * (self.sample_stride + self.row_stride)

    def with_split(self, split: int) -> GemmTile:
        """Split the columns, so that no block is without any."""
        steps = -(-self._depths // max(min(split, self._depths), 1))
        return replace(self, split=-(-self._depths // steps))


def in_tiles(shape: LayerShape, form: Form) -> bool:
    """Whether a layer is a product that the kernel computes: values, or codes of many samples."""
    if shape.kind != "matmul" or shape.dtype == "float64":
        return False
    return shape.samples > 1 if form == "dense" else form == "codebook" and shape.by_pixels


@lru_cache
def default_tile(samples: int, rows: int, columns: int, gpu: Gpu) -> GemmTile:
    """Return the tile of the default schedule."""
    tiles = -(-samples // BLOCK_SAMPLES)
    each = max(-(-samples // tiles), 1)
    sample_threads = -(-each // THREAD_SAMPLES)
    thread_samples = each if sample_threads == 1 else THREAD_SAMPLES
    thread_rows = GROUP if sample_threads <= 2 else 2 * GROUP
    tile = GemmTile(
        samples,
        rows,
        columns,
        thread_samples,
        thread_rows,
        sample_threads,
        BLOCK_ROWS // thread_rows,
        # One warp loads the whole part: in half as many registers.
        DEPTH if sample_threads > 1 else DEPTH // 2,
    )
    return best_split(tile, gpu)


def best_split(tile: GemmTile, gpu: Gpu) -> GemmTile:
    """Split the columns so that the estimate is least."""
    most = 2 * gpu.multiprocessors * blocks_at_a_time(tile)
    splits = {tile.with_split(split) for split in range(1, most + 1)}
    return min(splits, key=lambda each: (gemm_nanoseconds(each, gpu), each.split))


def blocks_at_a_time(tile: GemmTile) -> int:
    """Count the blocks that a multiprocessor runs at a time."""
    return max(THREADS_AT_A_TIME // tile.threads, 1)


def gemm_nanoseconds(tile: GemmTile, gpu: Gpu, weight_bytes: float = WORD_BYTES) -> float:
    """Estimate one run, of weights that take ``weight_bytes`` each.

    Blocks run in rounds of as many as the multiprocessors hold; a round takes its multiplications,
    those with padding among them, or its bytes. Sums of split columns are written and read again.
    """
    at_a_time = gpu.multiprocessors * blocks_at_a_time(tile)
    results = tile.block_samples * tile.block_rows
    multiplications = results * tile.depth * blocks_at_a_time(tile)
    arithmetic = multiplications / (gpu.multiplications * gpu.clock * EFFICIENCY)
    running = min(at_a_time, tile.blocks)
    loads = running * tile.depth * tile.block_rows * weight_bytes / gpu.bandwidth
    rounds = -(-tile.blocks // at_a_time)
    step = max(arithmetic, loads / max(tile.sample_tiles, 1), LATENCY)
    found = rounds * (tile.steps * step + LATENCY)
    if tile.split == 1:
        return found
    sums = tile.split * tile.samples * tile.rows * WORD_BYTES
    return found + REDUCTION + 2 * sums / gpu.bandwidth
