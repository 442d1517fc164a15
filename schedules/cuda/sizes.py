"""What may be varied of a kernel of thread blocks beside the packing of its weight."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcc.schedules.cuda.gemm_tile import GemmTile
from dcc.schedules.cuda.tensor_tile import TensorTile
from dcc.schedules.cuda.tile import with_split

OF_THREADS = ("thread_rows", "row_threads")
OF_WARPS = ("warps", "row_fragments", "resident")
"""Sizes that only tiles of threads, and only those of tensor cores, have."""


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of a kernel; None leaves one to the default schedule.

    Attributes
    ----------
    pixel_threads, thread_pixels
        Most threads of a block, and most pixels (or samples) of a thread, where threads are pixels.
    tensor_cores
        0 leaves products in tiles to the threads, 1 to tensor cores.
    thread_rows, row_threads, depth, split
        See ``GemmTile``.
    warps, row_fragments, resident
        See ``TensorTile``.
    """

    pixel_threads: int | None = None
    thread_pixels: int | None = None
    tensor_cores: int | None = None
    thread_rows: int | None = None
    row_threads: int | None = None
    depth: int | None = None
    split: int | None = None
    warps: int | None = None
    row_fragments: int | None = None
    resident: int | None = None

    @property
    def on_tensor_cores(self) -> bool | None:
        """Whether tensor cores are taken; None where the default decides."""
        return None if self.tensor_cores is None else bool(self.tensor_cores)

    def tile(self, default: GemmTile | TensorTile) -> GemmTile | TensorTile:
        """Change the sizes of ``default`` that are given, those that it has."""
        names = (*(OF_THREADS if isinstance(default, GemmTile) else OF_WARPS), "depth")
        given = {name: getattr(self, name) for name in names}
        changed = {name: value for name, value in given.items() if value is not None}
        tile = replace(default, split=1, **changed)
        return with_split(tile, self.split or default.split)
