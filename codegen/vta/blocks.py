"""Layouts of tensors in VTA's memory: vectors of 16 channels, weights as blocks of 16 x 16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.targets.vta.isa import BLOCK

Int8 = npt.NDArray[np.int8]


def padded_to_blocks(size: int) -> int:
    """Round up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def pack_activations(x: Int8) -> Int8:
    """Pack (batch, channels, height, width) to (batch, channels / 16, height, width, 16)."""
    batch, channels, height, width = x.shape
    padded = np.zeros((batch, padded_to_blocks(channels), height, width), dtype=np.int8)
    padded[:, :channels] = x
    grid = padded.reshape(batch, -1, BLOCK, height, width)
    return np.ascontiguousarray(grid.transpose(0, 1, 3, 4, 2))


def unpack_activations(packed: Int8, shape: tuple[int, int, int, int]) -> Int8:
    """Inverse of :func:`pack_activations`, for a tensor of ``shape``."""
    batch, channels, height, width = shape
    grid = packed.reshape(batch, padded_to_blocks(channels) // BLOCK, height, width, BLOCK)
    return np.ascontiguousarray(
        grid.transpose(0, 1, 4, 2, 3).reshape(batch, -1, height, width)[:, :channels]
    )


def block_weights(weight: Int8) -> Int8:
    """Cut (outputs, inputs, rows, columns) to (outputs/16, inputs/16, rows, columns, 16, 16)."""
    outputs, inputs, rows, columns = weight.shape
    padded = np.zeros((padded_to_blocks(outputs), padded_to_blocks(inputs), rows, columns), np.int8)
    padded[:outputs, :inputs] = weight
    grid = padded.reshape(-1, BLOCK, padded.shape[1] // BLOCK, BLOCK, rows, columns)
    return np.ascontiguousarray(grid.transpose(0, 2, 4, 5, 1, 3))
