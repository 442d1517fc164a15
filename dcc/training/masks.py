"""Which connections are kept at each moment of pruning."""

from __future__ import annotations

import torch

from dcc.training.settings import PruneSettings

_DROP_CANDIDATES = 2.0
"""DropPruning draws those who go among so many times their number of smallest weights."""
_DROP_BACK = 0.1
"""At the start, this share of what is removed comes back by lot; none at the end."""


def density_at(progress: float, final: float, settings: PruneSettings) -> float:
    """Density to keep when ``progress`` (0 to 1) of the pruning is done."""
    if settings.schedule == "once":
        return final
    return final + (1.0 - final) * (1.0 - min(max(progress, 0.0), 1.0)) ** 3


def next_mask(
    weight: torch.Tensor,
    mask: torch.Tensor,
    kept: int,
    progress: float,
    settings: PruneSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """Mask (bool, shape of ``weight``) of at most ``kept`` connections.

    Parameters
    ----------
    weight
        The values behind the mask, which a removed connection keeps.
    mask
        The mask until now.
    kept
        How many stay; never a zero.
    generator
        Of the lots of the strategy ``drop``.
    """
    magnitude = weight.detach().abs().flatten()
    old = mask.flatten()
    if settings.strategy == "splicing":
        magnitude = torch.where(old, magnitude * (1.0 + settings.hysteresis), magnitude)
    elif settings.strategy == "magnitude":
        magnitude = torch.where(old, magnitude, magnitude.new_zeros(()))
    else:
        magnitude = _drawn(magnitude, old, kept, progress, generator)
    return largest(magnitude, kept).reshape(weight.shape)


def largest(magnitude: torch.Tensor, kept: int) -> torch.Tensor:
    """Mask of the ``kept`` largest of a flat tensor, without zeros; ties by position."""
    mask = torch.zeros_like(magnitude, dtype=torch.bool)
    if kept:
        order = torch.sort(magnitude, descending=True, stable=True).indices[:kept]
        mask[order] = True
    return mask & (magnitude > 0)


def _drawn(
    magnitude: torch.Tensor,
    old: torch.Tensor,
    kept: int,
    progress: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Magnitudes in which those who go have become zero and those drawn to come back are restored.

    Drop away: of the smallest kept weights, twice as many as must go, half are drawn. Drop back: of
    the removed ones, a share that falls to zero is drawn.
    """
    lots = torch.rand(magnitude.shape, generator=generator).to(magnitude.device)
    back = ~old & (lots < _DROP_BACK * max(1.0 - progress, 0.0) * kept / max(magnitude.numel(), 1))
    alive = old | back
    going = int(alive.sum()) - kept
    scores = torch.where(alive, magnitude, magnitude.new_zeros(()))
    if going <= 0:
        return scores
    candidates = min(round(_DROP_CANDIDATES * going), int(alive.sum()))
    eligible = torch.where(alive, magnitude, magnitude.new_full((), float("inf")))
    smallest = torch.sort(eligible, stable=True).indices[:candidates]
    gone = smallest[torch.sort(lots[smallest], stable=True).indices[:going]]
    scores[gone] = 0.0
    return scores
