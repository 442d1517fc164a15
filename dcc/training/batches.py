"""The batches of an epoch: from arrays in memory, or from a loader of the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch

Batch = tuple[torch.Tensor, torch.Tensor]


class Batches(Protocol):
    """What the training loop asks of its data."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def epoch(self, seed: int) -> Iterator[Batch]:
        """Yield samples [N, ...] and targets [N, ...]; the same order for the same seed."""


class MemoryBatches:
    """Samples and labels in memory, in an order that the seed of the epoch decides.

    A last batch that is smaller than the others is left out of this epoch.
    """

    def __init__(self, samples: torch.Tensor, labels: torch.Tensor, size: int) -> None:
        self._samples, self._labels = samples, labels
        self._size = min(size, len(samples))

    def __len__(self) -> int:
        return len(self._samples) // self._size

    def epoch(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self._samples), generator=generator).to(self._samples.device)
        for index in range(len(self)):
            chosen = order[index * self._size : (index + 1) * self._size]
            yield self._samples[chosen], self._labels[chosen]


class LoaderBatches:
    """A torch ``DataLoader``, or anything that can be iterated over again and has a length."""

    def __init__(self, loader: Iterable[Batch], device: torch.device) -> None:
        self._loader = loader
        self._device = device

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def epoch(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; a loader that shuffles draws from torch's generator."""
        torch.manual_seed(seed)
        for samples, targets in self._loader:
            yield samples.to(self._device), targets.to(self._device)
