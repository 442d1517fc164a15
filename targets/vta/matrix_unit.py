"""The GEMM instruction as matrix products.

Where the weights do not move in the loops, the micro-ops of an instruction are one matrix: rows are
the inputs that they read, columns the accumulators that they add to. One product does all passes
of the loops. Single precision is exact: it holds every integer up to 2^24, and a block adds at most
2^18.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcc.targets.vta.isa import BLOCK
from dcc.targets.vta.prepared import Indices, Instruction

_EXACT_BLOCKS = 63  # of 2^18 each, in 24 bits
_SMALL = 1 << 18  # multiplications of a product that runs on one thread
_MOST_WASTE = 6  # entries of the matrix for each micro-op
_CHUNK = 1 << 13  # micro-ops at a time that are multiplied one by one

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Plan:
    """Where the micro-ops stand in the matrix, and what the loops add to rows and columns."""

    sources: Indices
    targets: Indices
    rows: Indices
    columns: Indices
    unique: bool


def multiply(
    instruction: Instruction,
    inputs: npt.NDArray[np.generic],
    weights: npt.NDArray[np.generic],
    accumulators: npt.NDArray[np.generic],
) -> None:
    """Add the products of a GEMM instruction to ``accumulators``, wrapping at 32 bits.

    Parameters
    ----------
    inputs
        ``int8``, shape (elements, 16).
    weights
        ``int8``, shape (elements, 256): rows are output channels.
    accumulators
        ``int32``, shape (elements, 16); changed.
    """
    plan = _plan(instruction)
    if plan is None:
        _one_by_one(instruction, inputs, weights, accumulators)
        return
    assert instruction.micro_ops is not None
    blocks = weights[instruction.micro_ops[2]].reshape(-1, BLOCK, BLOCK).transpose(0, 2, 1)
    matrix = np.zeros((len(plan.sources), len(plan.targets), BLOCK, BLOCK), dtype=np.float32)
    matrix[plan.rows, plan.columns] = blocks
    flat = matrix.transpose(0, 2, 1, 3).reshape(len(plan.sources) * BLOCK, -1)
    src = instruction.steps("src")[:, None] + plan.sources
    dst = instruction.steps("dst")[:, None] + plan.targets
    sums = exact_product(inputs[src].reshape(len(src), -1).astype(np.float32), flat)
    _add(accumulators, dst, sums.reshape(*dst.shape, BLOCK), plan.unique)


def exact_product(
    left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """Multiply matrices of integers from -128 to 127 without any rounding.

    In pieces so small that no library starts threads for them, which would wait for each other
    wherever other work shares the processor.
    """
    rows, columns = len(left), right.shape[1]
    sums = np.zeros((rows, columns), dtype=np.int64)
    wide = max(1, min(columns, _SMALL // BLOCK))
    tall = max(1, min(rows, _SMALL // (BLOCK * wide)))
    deep = max(BLOCK, min(_EXACT_BLOCKS * BLOCK, _SMALL // (wide * tall)))
    for column in range(0, columns, wide):
        for start in range(0, len(right), deep):
            part = np.ascontiguousarray(right[start : start + deep, column : column + wide])
            for row in range(0, rows, tall):
                piece = left[row : row + tall, start : start + deep] @ part
                sums[row : row + tall, column : column + wide] += piece.astype(np.int64)
    return sums


def _plan(instruction: Instruction) -> _Plan | None:
    plan = instruction.plan
    if "matrix" not in plan:
        plan["matrix"] = _make_plan(instruction)
    found: _Plan | None = plan["matrix"]
    return found


def _make_plan(instruction: Instruction) -> _Plan | None:
    assert instruction.micro_ops is not None
    dst, src, _ = instruction.micro_ops
    if instruction.fields["wgt_factor_out"] or instruction.fields["wgt_factor_in"]:
        return None
    sources, rows = np.unique(src, return_inverse=True)
    targets, columns = np.unique(dst, return_inverse=True)
    cells = len(sources) * len(targets)
    if cells > _MOST_WASTE * len(dst):
        return None
    if len(np.unique(rows * len(targets) + columns)) < len(dst):
        return None
    where = instruction.steps("dst")[:, None] + targets
    unique = len(np.unique(where)) == where.size
    return _Plan(sources, targets, rows, columns, unique)


def _one_by_one(
    instruction: Instruction,
    inputs: npt.NDArray[np.generic],
    weights: npt.NDArray[np.generic],
    accumulators: npt.NDArray[np.generic],
) -> None:
    dst, src, wgt = (instruction.indices(name).reshape(-1) for name in ("dst", "src", "wgt"))
    for start in range(0, len(dst), _CHUNK):
        part = slice(start, start + _CHUNK)
        blocks = weights[wgt[part]].reshape(-1, BLOCK, BLOCK).astype(np.float32)
        data = inputs[src[part]].astype(np.float32)
        products = np.matmul(blocks, data[:, :, None])[:, :, 0]
        _add(accumulators, dst[part], products.astype(np.int64), unique=False)


def _add(
    accumulators: npt.NDArray[np.generic],
    dst: Indices,
    products: npt.NDArray[np.int64],
    unique: bool,
) -> None:
    if unique:
        accumulators[dst] = (accumulators[dst].astype(np.int64) + products).astype(np.int32)
        return
    sums = accumulators.astype(np.int64)
    np.add.at(sums, dst.reshape(-1), products.reshape(-1, BLOCK))
    accumulators[:] = sums.astype(np.int32)
