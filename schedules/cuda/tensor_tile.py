"""How a product of a dense weight with some samples is cut into tiles of tensor cores.

Tensor cores multiply values of TF32, which has 11 bits of significand. A value of single precision
is the sum of two such, but for its last bits, and a product the sum of three: what is left out is
2^-22 of it. One that is exact in TF32 (a half, say) needs no second part. (The scheme is that of
Ootomo and Yokota 2022, "Recovering single precision accuracy from Tensor Cores", section 3.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dcc.schedules.cuda.tile import Tile, with_split
from dcc.targets.target import Gpu

FRAGMENT_ROWS, FRAGMENT_SAMPLES, FRAGMENT_COLUMNS = 16, 8, 8
"""What one instruction multiplies (``mma.m16n8k8`` of PTX)."""
THREAD_COLUMNS = 4
"""Neighbouring columns that a thread reads of a line at a time."""
GROUP_COLUMNS = 4 * THREAD_COLUMNS
"""Columns that the four threads of a line read at a time: two fragments."""
MOST_FRAGMENTS = 8
"""Fragments of a warp along the samples."""
AT_ONCE = 2
"""Fragments of samples that a warp has in registers: their products do not wait for each other."""
WARPS, ROW_FRAGMENTS = 4, 2
REGISTERS, MOST_THREADS, MOST_BLOCKS = 65536, 2048, 32
"""Of a multiprocessor, and the most threads and blocks that it runs at a time."""
EFFICIENCY = 0.4
"""Share of the peak of the tensor cores that instructions of this size reach on an H200."""
LOOKUP_CYCLES = 16.0
"""Of a scheduler, for the 32 values that a warp looks up and splits at a time."""
SCHEDULERS = 4
MOST_ROUNDS = 4
FEW_FRAGMENTS = 4
"""Up to so many fragments of samples a half step has two groups of columns."""
MOST_PARTS = 2
"""Values of TF32 that make up one of single precision."""
LOST_BITS = 13
"""Bits of single precision that TF32 lacks."""
MOST_MAGNITUDE = 2.0**127
"""Values up to here can be split: rounding a larger one could make it infinite."""


@dataclass(frozen=True, kw_only=True)
class TensorTile(Tile):
    """Sizes of the kernel in ``tensor_gemm``.

    Attributes
    ----------
    warps
        Of a block, one below the other along the rows.
    row_fragments, sample_fragments
        Fragments of 16 rows and of 8 samples of a warp.
    resident
        Blocks that a multiprocessor shall run at a time; None estimates how many fit.
    weight_parts, input_parts
        Values of TF32 that make up one of the weight's and of the inputs': 1 or 2.
    """

    warps: int
    row_fragments: int
    sample_fragments: int
    resident: int | None = None
    weight_parts: int = 2
    input_parts: int = 2

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * self.warps

    @property
    def block_samples(self) -> int:
        """Samples of a block."""
        return FRAGMENT_SAMPLES * self.sample_fragments

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return FRAGMENT_ROWS * self.row_fragments * self.warps

    @property
    def half_depth(self) -> int:
        """Columns between two barriers: a step has two halves, whose inputs stand apart."""
        return self.depth // 2

    @property
    def groups(self) -> int:
        """Groups of columns of a half."""
        return self.half_depth // GROUP_COLUMNS

    @property
    def products(self) -> int:
        """Multiplications of TF32 for one of single precision."""
        return self.weight_parts + self.input_parts - 1

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block, without a codebook."""
        return self.input_parts * 4 * self.depth * self.block_samples

    @property
    def blocks_at_a_time(self) -> int:
        """Blocks that a multiprocessor runs at a time."""
        if self.resident is not None:
            return self.resident
        by_registers = REGISTERS // (self.registers * self.threads)
        return max(min(by_registers, MOST_THREADS // self.threads, MOST_BLOCKS), 1)

    @property
    def registers(self) -> int:
        """Registers of a thread, about: of sums, those of a turn, operands, loads ahead."""
        at_once = min(AT_ONCE, self.sample_fragments)
        sums = 4 * self.row_fragments * (self.sample_fragments + at_once)
        operands = 8 * at_once + 24 * self.row_fragments * self.groups
        return min(28 + sums + operands, 255)

    def multiplications(self, gpu: Gpu) -> float:
        """Multiplications of a multiprocessor in a nanosecond."""
        return gpu.tensor_multiplications * gpu.clock * EFFICIENCY / self.products

    def lookup_nanoseconds(self, gpu: Gpu) -> float:
        """Nanoseconds of a step, of all blocks of a multiprocessor, where codes are looked up."""
        blocks = min(self.blocks_at_a_time, -(-self.blocks // gpu.multiprocessors))
        values = self.block_rows * self.depth * blocks
        return values / 32 / SCHEDULERS * LOOKUP_CYCLES / gpu.clock


def parts_of(values: np.ndarray) -> int | None:
    """Count the values of TF32 that make up each of ``values``; None where they cannot be split."""
    single = values.astype(np.float32).ravel()
    if single.size and not np.abs(single).max() < MOST_MAGNITUDE:
        return None
    lost = np.uint32((1 << LOST_BITS) - 1)
    return 2 if np.any(single.view(np.uint32) & lost) else 1


@lru_cache
def default_tensor_tile(
    samples: int, rows: int, columns: int, parts: tuple[int, int], gpu: Gpu
) -> TensorTile:
    """Return the tile of the default schedule; ``parts`` are those of the weight and the inputs."""
    tiles = -(-samples // (FRAGMENT_SAMPLES * MOST_FRAGMENTS))
    fragments = -(-max(-(-samples // tiles), 1) // FRAGMENT_SAMPLES)
    tile = TensorTile(
        samples=samples,
        rows=rows,
        columns=columns,
        depth=2 * GROUP_COLUMNS * (2 if fragments <= FEW_FRAGMENTS else 1),
        warps=WARPS,
        row_fragments=ROW_FRAGMENTS,
        sample_fragments=fragments,
        weight_parts=parts[0],
        input_parts=parts[1],
    )
    return min(_full_rounds(tile, gpu), key=lambda each: each.nanoseconds(gpu))


def _full_rounds(tile: TensorTile, gpu: Gpu) -> list[TensorTile]:
    """Split the columns so that the blocks of all multiprocessors have work, once or some times."""
    at_a_time = gpu.multiprocessors * tile.blocks_at_a_time
    return [
        with_split(tile, rounds * at_a_time // tile.blocks) for rounds in range(1, MOST_ROUNDS + 1)
    ]
