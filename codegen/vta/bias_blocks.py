"""A bias as blocks of weights: the matrix unit adds it in half the cycles of the ALU.

The block of 16 outputs is multiplied by an input that is 1 in its first lane and 127 in the others,
so that an output's bias is its first weight plus 127 times the sum of the other fifteen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.targets.vta.isa import BLOCK

_STEP = 127
_LANES = BLOCK - 1
LARGEST = _STEP * _STEP * _LANES
"""Greatest magnitude that blocks can hold for sure."""


def constant_input() -> npt.NDArray[np.int8]:
    """Give the input that the blocks are multiplied by."""
    return np.array([1] + [_STEP] * _LANES, dtype=np.int8)


def to_blocks(bias: npt.NDArray[np.int32]) -> npt.NDArray[np.int8]:
    """Turn a bias of whole blocks of outputs into blocks, shape (blocks, 16, 16)."""
    values = bias.astype(np.int64)
    steps = np.rint(values / _STEP).astype(np.int64)
    rows = np.zeros((len(values), BLOCK), dtype=np.int64)
    rows[:, 0] = values - steps * _STEP
    for lane in range(1, BLOCK):
        rows[:, lane] = np.clip(steps, -_STEP, _STEP)
        steps -= rows[:, lane]
    if steps.any():
        raise ValueError(f"a bias exceeds {LARGEST:,}")
    return rows.astype(np.int8).reshape(-1, BLOCK, BLOCK)


def from_blocks(blocks: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
    """Inverse of :func:`to_blocks`."""
    products = blocks.reshape(-1, BLOCK).astype(np.int32) * constant_input().astype(np.int32)
    return np.asarray(products.sum(axis=1), dtype=np.int32)
