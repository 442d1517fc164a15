"""What may be varied of a kernel of thread blocks beside the packing of its weight."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dcc.schedules.cuda.gemm_tile import GemmTile


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of a kernel; None leaves one to the default schedule.

    Attributes
    ----------
    pixel_threads, thread_pixels
        Most threads of a block, and most pixels (or samples) of a thread, where threads are pixels.
    thread_rows, row_threads, depth, split
        See ``GemmTile``.
    """

    pixel_threads: int | None = None
    thread_pixels: int | None = None
    thread_rows: int | None = None
    row_threads: int | None = None
    depth: int | None = None
    split: int | None = None

    def tile(self, default: GemmTile) -> GemmTile:
        """Change the sizes of ``default`` that are given."""
        names = ("thread_rows", "row_threads", "depth")
        given = {name: getattr(self, name) for name in names}
        changed = {name: value for name, value in given.items() if value is not None}
        tile = replace(default, split=1, **changed)
        return tile.with_split(self.split or default.split)
