"""What tiles of products have in common: how rows, samples and columns are shared out over blocks.

The estimate counts what the card has to do: multiplications in the tiles, and bytes. It chooses how
often the columns are split, and stands for the kernels in the cost model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TypeVar

from dcc.targets.target import Gpu

GROUP = 4
"""Elements of a vector load: 16 bytes."""
LATENCY = 800.0
"""Nanoseconds from asking for a part of the columns to having it: no step is shorter."""
LOADS_BESIDE = 0.15
"""Share of the loads' time that the rest does not hide."""
REDUCTION = 2500.0
"""Nanoseconds of a second kernel, beside its traffic."""
WORD_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Tile(ABC):
    """Sizes of a kernel whose blocks compute tiles of a product.

    Attributes
    ----------
    samples, rows, columns
        Of the product.
    depth
        Columns that stand in shared memory at a time, twice: one part is loaded meanwhile.
    split
        Blocks that share the columns of a tile; above 1 a second kernel adds their sums up.
    """

    samples: int
    rows: int
    columns: int
    depth: int
    split: int = 1

    @property
    @abstractmethod
    def threads(self) -> int:
        """Threads of a block."""

    @property
    @abstractmethod
    def block_samples(self) -> int:
        """Samples of a block."""

    @property
    @abstractmethod
    def block_rows(self) -> int:
        """Rows of a block."""

    @property
    @abstractmethod
    def shared_bytes(self) -> int:
        """Shared memory of a block, without a codebook."""

    @property
    @abstractmethod
    def blocks_at_a_time(self) -> int:
        """Blocks that a multiprocessor runs at a time."""

    @abstractmethod
    def multiplications(self, gpu: Gpu) -> float:
        """Multiplications of a multiprocessor in a nanosecond."""

    @abstractmethod
    def lookup_nanoseconds(self, gpu: Gpu) -> float:
        """Nanoseconds of a step, of all blocks of a multiprocessor, where codes are looked up."""

    @property
    def steps(self) -> int:
        """Parts of ``depth`` columns of a block."""
        return -(-self.depths // self.split)

    @property
    def depths(self) -> int:
        """Parts of ``depth`` columns of the product."""
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

    def nanoseconds(
        self, gpu: Gpu, weight_bytes: float = WORD_BYTES, lookups: bool = False
    ) -> float:
        """Estimate one run, of weights that take ``weight_bytes`` each.

        Blocks run in rounds of as many as the multiprocessors hold; a round takes its
        multiplications, those with padding among them, or its bytes, or what it looks up. Sums of
        split columns are written and read again.
        """
        at_a_time = gpu.multiprocessors * self.blocks_at_a_time
        each = self.block_samples * self.block_rows * self.depth
        arithmetic = each * self.blocks_at_a_time / self.multiplications(gpu)
        running = min(at_a_time, self.blocks)
        loads = running * self.depth * self.block_rows * weight_bytes / gpu.bandwidth
        step = max(arithmetic, loads / max(self.sample_tiles, 1), LATENCY)
        step = max(step, self.lookup_nanoseconds(gpu)) if lookups else step
        step += LOADS_BESIDE * loads
        found = -(-self.blocks // at_a_time) * (self.steps * step + LATENCY)
        if self.split == 1:
            return found
        sums = self.split * self.samples * self.rows * WORD_BYTES
        return found + REDUCTION + 2 * sums / gpu.bandwidth


AnyTile = TypeVar("AnyTile", bound=Tile)


def with_split(tile: AnyTile, split: int) -> AnyTile:
    """Split the columns of ``tile``, so that no block is without any."""
    steps = -(-tile.depths // max(min(split, tile.depths), 1))
    return replace(tile, split=-(-tile.depths // steps))


def best_split(tile: AnyTile, gpu: Gpu) -> AnyTile:
    """Split the columns so that the estimate is least."""
    most = 2 * gpu.multiprocessors * tile.blocks_at_a_time
    splits = {with_split(tile, split) for split in range(1, most + 1)}
    return min(splits, key=lambda each: (each.nanoseconds(gpu), each.split))
