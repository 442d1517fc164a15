"""Entropy-constrained assignment: bits of the file count beside squared error.

Assigning a weight w to centroid c costs ``(w - c)**2 / s**2 + penalty * bits(c)``, where s**2 is
the layer's mean square and bits(c) is what the container pays for that entry, its Huffman code and
its relative index; removing the connection costs ``w**2 / s**2`` and no bit (Chou, Lookabaugh,
Gray 1989: entropy-constrained vector quantisation).
"""

from __future__ import annotations

import math

import torch

_SMALLEST_SHARE = 1e-6


def code_bits(counts: torch.Tensor) -> torch.Tensor:
    """Ideal length in bits of each entry's code, from how often it occurs."""
    shares = counts.double() / counts.sum().clamp(min=1)
    return -torch.log2(shares.clamp(min=_SMALLEST_SHARE)).float()


def index_bits(density: float) -> float:
    """Ideal bits of a kept connection's position: the entropy of the mask over the density."""
    if not 0.0 < density < 1.0:
        return 0.0
    other = 1.0 - density
    return -(density * math.log2(density) + other * math.log2(other)) / density


def assign(
    weights: torch.Tensor,
    centroids: torch.Tensor,
    counts: torch.Tensor | None = None,
    penalty: float = 0.0,
    density: float | None = None,
) -> torch.Tensor:
    """Index of the centroid that costs least for each of the flat ``weights``; -1: remove it.

    Parameters
    ----------
    counts
        How many weights each centroid had; needed with a penalty.
    density
        Of the layer's mask; None where nothing may be removed.
    """
    scale = weights.square().mean().clamp(min=torch.finfo(weights.dtype).tiny)
    cost = (weights[:, None] - centroids[None, :]).square() / scale
    if penalty > 0.0 and counts is not None:
        bits = code_bits(counts).to(cost)
        cost = cost + penalty * (bits + (index_bits(density) if density is not None else 0.0))
    least, codes = cost.min(dim=1)
    if penalty > 0.0 and density is not None:
        removed = weights.square() / scale < least
        codes = torch.where(removed, codes.new_full((), -1), codes)
    return codes
