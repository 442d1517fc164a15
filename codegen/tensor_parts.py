"""The plain contents of an encoded tensor and the account of its bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EncodingChoices:
    """What was chosen for one tensor, by counting bytes."""

    gap_bits: int | None  # None: no mask
    code_bits: int | None  # bits that tell the codebook's entries apart; None: raw values
    joint: bool  # gap and code as one symbol
    entropy_coded: tuple[str, ...]  # of "gaps", "codes", "entries" (joint)


@dataclass(frozen=True)
class StorageBytes:
    """Where the bytes of a serialised tensor go; measured on them."""

    weights: int = 0  # codes, joint entries or raw values
    indices: int = 0
    codebook: int = 0
    tables: int = 0  # code lengths and headers
    padding: int = 0

    @property
    def total(self) -> int:
        """All bytes."""
        return self.weights + self.indices + self.codebook + self.tables + self.padding


@dataclass(frozen=True)
class TensorParts:
    """Plain contents of an :class:`~dcc.codegen.encoded_tensor.EncodedTensor`."""

    shape: tuple[int, ...]
    dtype: str
    mask: np.ndarray | None
    codes: np.ndarray | None
    codebook: np.ndarray | None
    values: np.ndarray | None


@dataclass(frozen=True)
class Serialized:
    """A tensor's bytes, what was chosen for them and where they go."""

    data: bytes
    choices: EncodingChoices
    storage: StorageBytes
