"""Bytes of a container's weights after each stage of the compression, counted on the bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dcc.codegen.encoded_tensor import EncodedTensor, StorageBytes
from dcc.reporting.facts import PARTS, STAGES, Layer, PartBytes, StageName


def stage_bytes(tensor: EncodedTensor) -> dict[StageName, PartBytes]:
    """Bytes of one weight: dense, pruned, shared, Huffman-coded.

    After pruning, gaps of a fixed width and the values that are left; after sharing, codes of a
    fixed width instead of the values; last, what the container holds. Until then each stage may
    leave the weight as the one before did, where its own layout would be larger.
    """
    dense = tensor.decode()
    found = {"dense": StorageBytes(weights=dense.nbytes)}
    candidates = [found["dense"]]
    if tensor.mask is not None:
        masked = EncodedTensor.from_values(tensor.mask, dense[tensor.mask])
        candidates.append(masked.nbytes(entropy_coded=False))
    found["pruned"] = _smallest(candidates)
    if tensor.codes is not None:
        candidates.append(tensor.nbytes(entropy_coded=False))
    found["shared"] = _smallest(candidates)
    found["huffman"] = tensor.nbytes()
    return {stage: _parts(found[stage]) for stage in STAGES}


def summed(layers: Sequence[Layer], stage: StageName) -> PartBytes:
    """Bytes of all layers after a stage."""
    names = (*PARTS, "total")
    return {part: sum(layer.bytes[stage][part] for layer in layers) for part in names}


def _smallest(candidates: Sequence[StorageBytes]) -> StorageBytes:
    return min(candidates, key=lambda each: each.total)


def _parts(storage: StorageBytes) -> PartBytes:
    sizes: Mapping[str, int] = {part: int(getattr(storage, part)) for part in PARTS}
    return {**sizes, "total": int(storage.total)}
