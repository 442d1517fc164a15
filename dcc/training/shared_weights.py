"""Weights as torch sees them in each stage: behind a mask, or as entries of a codebook.

The gradients pass straight through to what is behind: removed connections go on learning (so that
splicing can bring them back), and shared weights learn both their centroid and themselves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable


class StraightMask(torch.autograd.Function):
    """``weight * mask`` whose gradient reaches every weight."""

    @staticmethod
    def forward(_context: Any, weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute ``weight * mask``."""
        return weight * mask

    @staticmethod
    @once_differentiable
    def backward(_context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Hand the gradient on as it is."""
        return gradient, None


class SharedWeight(torch.autograd.Function):
    """Dense weight from centroids and codes.

    The gradient of a centroid is the sum over the weights that share it (Han, Mao, Dally 2016,
    section 3.2, equation 3); that of a weight is its own.
    """

    @staticmethod
    def forward(
        context: Any,
        weight: torch.Tensor,
        centroids: torch.Tensor,
        positions: torch.Tensor,
        codes: torch.Tensor,
    ) -> torch.Tensor:
        """Put ``centroids[codes]`` at the flat ``positions``, zero elsewhere."""
        context.save_for_backward(centroids, positions, codes)
        dense = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        dense.view(-1)[positions] = centroids[codes]
        return dense

    @staticmethod
    @once_differentiable
    def backward(
        context: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor, None, None]:
        """Sum the gradient by code, and give each weight its own."""
        centroids, positions, codes = context.saved_tensors
        kept = gradient.reshape(-1)[positions]
        summed = torch.zeros_like(centroids).index_add_(0, codes, kept)
        own = None
        if context.needs_input_grad[0]:
            own = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
            own.view(-1)[positions] = kept
        return own, summed, None, None
