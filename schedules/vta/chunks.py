"""Cuts a layer's weights into what one stream reads at a time.

Coded weights go through the halves of the host's double buffer, others stand in allocations of
limited size. Where the weights of 16 outputs take more than that, their reduction is cut, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.coded_weights import Chunk
from dcc.schedules.vta.layers import ConvLayer
from dcc.targets.vta.isa import ELEMENT_BYTES, Memory

Kept = npt.NDArray[np.bool_]


def weight_chunks(kept: Kept, most_bytes: int) -> list[Chunk]:
    """Cut weights into chunks of at most ``most_bytes``: whole output blocks, or parts of one.

    Parameters
    ----------
    kept
        Shape (output blocks, input blocks, kernel rows, kernel columns): blocks that are stored.
    """
    most = most_bytes // ELEMENT_BYTES[Memory.WGT]
    flat = kept.reshape(len(kept), -1)
    sizes = flat.sum(axis=1)
    positions = flat.shape[1]
    chunks: list[Chunk] = []
    first, used = 0, 0
    for block, size in enumerate(sizes.tolist()):
        if used and used + size > most:
            chunks.append(Chunk(first, block, 0, positions))
            first, used = block, 0
        if size > most:
            if first < block:
                chunks.append(Chunk(first, block, 0, positions))
            chunks += [Chunk(block, block + 1, *part) for part in _parts(flat[block], most)]
            first, used = block + 1, 0
        else:
            used += size
    if first < len(sizes):
        chunks.append(Chunk(first, len(sizes), 0, positions))
    return chunks


def _parts(kept: Kept, most: int) -> Iterator[tuple[int, int]]:
    """Cut the positions of one output block: about equal numbers of blocks that are stored."""
    before = np.cumsum(kept)
    parts = -(-int(before[-1]) // most)
    first = 0
    for part in range(1, parts + 1):
        last = int(np.searchsorted(before, part * int(before[-1]) // parts)) + 1
        last = len(kept) if part == parts else last
        yield first, last
        first = last


def chunk_layer(layer: ConvLayer, chunk: Chunk, positions: int) -> ConvLayer:
    """Give the layer as the stream of a chunk computes it."""
    begins, ends = chunk.first == 0, chunk.last == positions
    if not ends:
        layer = replace(layer, bias=False, bias_blocks=False, residual=None)
    return replace(layer, sums_in=not begins, sums_out=not ends)


def chunk_blocks(kept: Kept | None, chunk: Chunk, layer: ConvLayer) -> Kept | None:
    """Say which blocks the stream of a chunk multiplies; None for all of its outputs."""
    shape = (layer.output_blocks, layer.input_blocks, *layer.kernel)
    positions = int(np.prod(shape[1:]))
    if (chunk.first, chunk.last) == (0, positions):
        return kept
    there = np.zeros(positions, dtype=np.bool_)
    there[chunk.first : chunk.last] = True
    found = np.zeros((layer.output_blocks, positions), dtype=np.bool_)
    rows = slice(chunk.low, chunk.high)
    found[rows] = there if kept is None else kept.reshape(found.shape)[rows] & there
    return found.reshape(shape)
