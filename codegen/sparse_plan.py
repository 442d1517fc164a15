"""How to store the entries of a masked tensor, by counting bytes.

The gap width, separate or joint symbols, and whether each stream is entropy-coded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcc.codegen.relative_index import MAX_GAP_BITS, runs_before
from dcc.codegen.symbol_stream import StreamPlan, entropy_bytes, plan_stream

#: Largest alphabet of joint (gap, code) symbols.
MAX_JOINT_SYMBOLS = 1 << 16


@dataclass(frozen=True)
class SparsePlan:
    """Layout of the entries of one tensor; ``streams``: (gaps, codes), (entries,) or (gaps,)."""

    gap_bits: int
    entries: int  # fillers included
    joint: bool
    streams: tuple[StreamPlan, ...]
    size: int  # bytes of all streams, and of the fillers among raw values


def plan_entries(
    positions: np.ndarray,
    codes: np.ndarray | None,
    codebook_size: int,
    itemsize: int,
    entropy_coded: bool = True,
) -> SparsePlan:
    """Smallest layout for kept weights.

    Parameters
    ----------
    positions
        Ascending flat positions of the kept weights, at least one.
    codes
        Code of each, 1 to ``codebook_size - 1``; None: the values are stored raw.
    itemsize
        Bytes of a raw value, which each filler costs where ``codes`` is None.
    entropy_coded
        Whether streams may be entropy-coded.
    """
    runs = runs_before(positions)
    run_values, run_counts = _histogram(runs)
    code_counts = None if codes is None else np.bincount(codes, minlength=codebook_size)

    def separate(gap_bits: int, fillers: int, gap_counts: np.ndarray) -> SparsePlan:
        return _separate(gap_bits, fillers, gap_counts, code_counts, itemsize, entropy_coded)

    best: SparsePlan | None = None
    for gap_bits in range(1, MAX_GAP_BITS + 1):
        fillers, gap_counts = _fold(run_values, run_counts, gap_bits)
        if fillers > 8 * len(positions) + 4096:
            continue
        plan = separate(gap_bits, fillers, gap_counts)
        if best is None or plan.size < best.size:
            best = plan
        if int(run_values[-1]) >> gap_bits == 0:
            break  # wider fields only cost more
    if best is None:  # kept weights so rare that even the widest gap needs many fillers
        fillers, gap_counts = _fold(run_values, run_counts, MAX_GAP_BITS)
        best = separate(MAX_GAP_BITS, fillers, gap_counts)
    # At a fixed width a joint symbol takes the bits of its two parts.
    if codes is not None and entropy_coded:
        best = _improve_jointly(best, runs, run_values, run_counts, codes, codebook_size)
    return best


def _separate(
    gap_bits: int,
    fillers: int,
    gap_counts: np.ndarray,
    code_counts: np.ndarray | None,
    itemsize: int,
    entropy_coded: bool,
) -> SparsePlan:
    streams = [plan_stream(gap_counts, entropy_coded)]
    extra = fillers * itemsize
    if code_counts is not None:
        with_fillers = code_counts.copy()
        with_fillers[0] += fillers
        streams.append(plan_stream(with_fillers, entropy_coded))
        extra = 0
    size = sum(stream.size for stream in streams) + extra
    return SparsePlan(gap_bits, int(gap_counts.sum()), False, tuple(streams), size)


def _improve_jointly(
    best: SparsePlan,
    runs: np.ndarray,
    run_values: np.ndarray,
    run_counts: np.ndarray,
    codes: np.ndarray,
    codebook_size: int,
) -> SparsePlan:
    """Try one symbol per entry; the sooner given up, the larger its table would be."""
    for gap_bits in range(1, MAX_GAP_BITS + 1):
        if codebook_size << gap_bits > MAX_JOINT_SYMBOLS:
            break
        fillers, _ = _fold(run_values, run_counts, gap_bits)
        if fillers > 8 * len(runs) + 4096:
            continue
        largest = (1 << gap_bits) - 1
        counts = np.bincount(
            (runs & largest) * codebook_size + codes, minlength=codebook_size << gap_bits
        )
        counts[largest * codebook_size] += fillers
        # A symbol costs its table at least about three bits.
        if entropy_bytes(counts) + np.count_nonzero(counts) * 3 // 8 < best.size:
            plan = plan_stream(counts)
            if plan.size < best.size:
                best = SparsePlan(gap_bits, int(counts.sum()), True, (plan,), plan.size)
        if int(run_values[-1]) <= largest:
            break
    return best


def _histogram(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct runs, ascending, and how often each occurs."""
    if int(runs.max()) < 1 << 22:
        counts = np.bincount(runs)
        values = np.flatnonzero(counts)
        return values, counts[values]
    return np.unique(runs, return_counts=True)


def _fold(run_values: np.ndarray, run_counts: np.ndarray, gap_bits: int) -> tuple[int, np.ndarray]:
    """Fillers needed, and the histogram of the gap field with them."""
    largest = (1 << gap_bits) - 1
    fillers = int(((run_values >> gap_bits) * run_counts).sum())
    counts = np.zeros(largest + 1, dtype=np.int64)
    np.add.at(counts, run_values & largest, run_counts)
    counts[largest] += fillers
    return fillers, counts
