"""Seconds and peak memory of encoding and decoding one large weight.

    python benchmarks/encoding.py [--weights 100e6] [--density 0.1] [--bits 5]

The weight is normal, pruned by magnitude; k-means and the choice of the stored form are included.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from dcc.codegen.codebook import kmeans
from dcc.codegen.encoded_tensor import EncodedTensor


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Print the seconds of a step and the peak memory of the process after it."""
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(f"{step:<44}{seconds:>8.2f} s{peak:>8.2f} GiB")


def encode_pruned(weight: np.ndarray, density: float, bits: int) -> EncodedTensor:
    """Prune by magnitude, share the rest among ``2**bits - 1`` values and encode."""
    magnitude = np.abs(weight)
    threshold = np.quantile(magnitude.reshape(-1)[::64], 1 - density)
    mask = magnitude > threshold
    centroids, assignment = kmeans(weight[mask], (1 << bits) - 1)
    codes = np.zeros(weight.shape, dtype=np.uint8)
    codes[mask] = assignment + 1
    tensor = EncodedTensor.from_codes(
        mask, codes, np.concatenate([weight.dtype.type([0]), centroids])
    )
    tensor.to_bytes()
    return tensor


def encode_dense(weight: np.ndarray, bits: int) -> EncodedTensor:
    """Share all weights among ``2**bits`` values and encode."""
    centroids, codes = kmeans(weight, 1 << bits)
    tensor = EncodedTensor.from_codes(None, codes, centroids)
    tensor.to_bytes()
    return tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=float, default=100e6)
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--bits", type=int, default=5)
    options = parser.parse_args()
    rows = max(int(options.weights) // 10_000, 1)
    weight = np.random.default_rng(0).standard_normal((rows, 10_000), dtype=np.float32)
    print(f"{weight.size:,} weights, {platform.processor() or platform.machine()}, seed 0")
    print(f"{'step':<44}{'time':>10}{'peak':>12}")

    with timed(f"prune to {options.density:.0%}, {options.bits} bits, encode"):
        pruned = encode_pruned(weight, options.density, options.bits)
    data = pruned.to_bytes()
    with timed(f"decode {len(data):,} bytes"):
        dense = EncodedTensor.from_bytes(data).decode()
    assert np.array_equal(dense, pruned.decode())
    with timed("encode the result once more, lossless"):
        again = EncodedTensor.from_dense(dense).to_bytes()
    assert again == data
    del pruned, dense

    with timed(f"not pruned, {options.bits} bits, encode"):
        shared = encode_dense(weight, options.bits)
    data = shared.to_bytes()
    with timed(f"decode {len(data):,} bytes"):
        codes = EncodedTensor.from_bytes(data).codes
    assert np.array_equal(codes, shared.codes)
    del shared, codes

    with timed("raw values, lossless"):
        data = EncodedTensor.from_dense(weight).to_bytes()
    with timed(f"decode {len(data):,} bytes"):
        EncodedTensor.from_bytes(data).decode()


if __name__ == "__main__":
    main()
