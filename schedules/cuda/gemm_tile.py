"""How a product of a dense weight with some samples is cut into tiles of threads' sums."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dcc.schedules.cuda.tile import GROUP, WORD_BYTES, Tile, best_split
from dcc.targets.target import Gpu

THREAD_SAMPLES, BLOCK_SAMPLES = 8, 64
BLOCK_ROWS = 128
DEPTH = 16
THREADS_AT_A_TIME = 384
"""Threads of a multiprocessor that hide the latency of their multiplications."""
EFFICIENCY = 0.62
"""Share of the cycles that multiply: Alex-6 with 64 samples took 124 us on an H200."""
LOOKUPS = 1.12
"""Instructions of a tile whose weights are looked up, over those of one that reads them."""


@dataclass(frozen=True, kw_only=True)
class GemmTile(Tile):
    """Sizes of the kernel in ``gemm``.

    Attributes
    ----------
    thread_samples, thread_rows
        Results of a thread; rows come in groups of four.
    sample_threads, row_threads
        Threads of a block along each axis.
    """

    thread_samples: int
    thread_rows: int
    sample_threads: int
    row_threads: int

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

    @property
    def blocks_at_a_time(self) -> int:
        """Blocks that a multiprocessor runs at a time."""
        return max(THREADS_AT_A_TIME // self.threads, 1)

    def multiplications(self, gpu: Gpu) -> float:
        """Multiplications of a multiprocessor in a nanosecond."""
        return gpu.multiplications * gpu.clock * EFFICIENCY

    def lookup_nanoseconds(self, gpu: Gpu) -> float:
        """Nanoseconds of a step, of all blocks of a multiprocessor, where codes are looked up."""
        each = self.block_samples * self.block_rows * self.depth
        return LOOKUPS * each * self.blocks_at_a_time / self.multiplications(gpu)


@lru_cache
def default_gemm_tile(samples: int, rows: int, columns: int, gpu: Gpu) -> GemmTile:
    """Return the tile of the default schedule."""
    tiles = -(-samples // BLOCK_SAMPLES)
    each = max(-(-samples // tiles), 1)
    sample_threads = -(-each // THREAD_SAMPLES)
    thread_rows = GROUP if sample_threads <= 2 else 2 * GROUP
    tile = GemmTile(
        samples=samples,
        rows=rows,
        columns=columns,
        thread_samples=each if sample_threads == 1 else THREAD_SAMPLES,
        thread_rows=thread_rows,
        sample_threads=sample_threads,
        row_threads=BLOCK_ROWS // thread_rows,
        # One warp loads the whole part: in half as many registers.
        depth=DEPTH if sample_threads > 1 else DEPTH // 2,
    )
    return best_split(tile, gpu)
