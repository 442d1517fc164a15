"""One weight on its way: the values that learn, the mask, and later the codebook."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from dcc.codegen.codebook import best_code_bits, kmeans
from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.errors import RecipeError
from dcc.passes.options import LayerOptions
from dcc.training import entropy_penalty
from dcc.training.masks import density_at, next_mask
from dcc.training.settings import PruneSettings
from dcc.training.shared_weights import SharedWeight, StraightMask

_FLOAT_BYTES = 4


class CompressedWeight:
    """A parameter of the module with what the recipe asks of it.

    Attributes
    ----------
    name
        Of the parameter in the module.
    latent
        The parameter: values that learn behind mask and codebook.
    options
        What the recipe says of this weight.
    density
        To keep in the end; None prunes nothing.
    mask
        Bool, shape of the weight; None while nothing is removed.
    centroids
        The codebook without the zero, a parameter; None before sharing.
    """

    def __init__(self, name: str, latent: nn.Parameter, options: LayerOptions) -> None:
        self.name = name
        self.latent = latent
        self.options = options
        self.density = _final_density(latent.detach(), options)
        zeros = latent.detach() == 0
        self.mask: torch.Tensor | None = ~zeros if bool(zeros.any()) else None
        self.splicing = False
        self.centroids: nn.Parameter | None = None
        self._positions = torch.empty(0, dtype=torch.int64)
        self._codes = torch.empty(0, dtype=torch.int64)

    def effective(self) -> torch.Tensor:
        """Give the weight that the module computes with."""
        if self.centroids is not None:
            return SharedWeight.apply(self.latent, self.centroids, self._positions, self._codes)
        if self.mask is None:
            return self.latent
        return StraightMask.apply(self.latent, self.mask) if self.splicing else self._masked()

    @property
    def kept(self) -> int:
        """Connections that are kept."""
        if self.centroids is not None:
            return len(self._positions)
        return self.latent.numel() if self.mask is None else int(self.mask.sum())

    def prune(self, progress: float, settings: PruneSettings, generator: torch.Generator) -> None:
        """Bring the mask to the density of this moment."""
        if self.density is None:
            return
        mask = torch.ones_like(self.latent, dtype=torch.bool) if self.mask is None else self.mask
        kept = round(density_at(progress, self.density, settings) * self.latent.numel())
        self.mask = next_mask(self.latent, mask, kept, progress, settings, generator)

    def forget(self, dead: torch.Tensor) -> None:
        """Set weights that change nothing to zero, so that others take their places."""
        with torch.no_grad():
            self.latent[dead] = 0.0
        if self.centroids is not None:
            alive = ~dead.flatten()[self._positions]
            self._positions, self._codes = self._positions[alive], self._codes[alive]
        elif self.mask is not None:
            self.mask = self.mask & ~dead

    def settle(self) -> None:
        """Make what is removed zero behind the mask as well."""
        if self.mask is not None:
            with torch.no_grad():
                self.latent.mul_(self.mask)
            self.mask = self.latent.detach() != 0

    def share(self, seed: int) -> None:
        """Give the kept weights a codebook by k-means, if that saves bytes."""
        clustered = self._cluster(seed)
        if clustered is None:
            return
        centroids, codes = clustered
        mask = (
            self.mask if self.mask is not None else torch.ones_like(self.latent, dtype=torch.bool)
        )
        self._positions = mask.flatten().nonzero().flatten()
        self._codes = torch.from_numpy(codes.astype(np.int64)).to(self.latent.device)
        self.centroids = nn.Parameter(torch.from_numpy(centroids).to(self.latent.device))

    def reassign(self, penalty: float) -> None:
        """Assign every weight to its best centroid; the penalty may remove some for good."""
        if self.centroids is None or not len(self._positions):
            return
        values = self.latent.detach().flatten()[self._positions]
        counts = torch.bincount(self._codes, minlength=len(self.centroids))
        density = None if self.mask is None else self.kept / self.latent.numel()
        codes = entropy_penalty.assign(values, self.centroids.detach(), counts, penalty, density)
        self._positions, self._codes = self._positions[codes >= 0], codes[codes >= 0]

    def value(self) -> torch.Tensor:
        """Give the final dense weight."""
        with torch.no_grad():
            return self.effective().detach().clone()

    def projected_bytes(self) -> int:
        """Bytes of the encoded tensor as it would be written now, shared if the recipe shares."""
        dense = self.value().cpu().numpy().astype(np.float32)
        if self.centroids is None and self.options.bits is not None:
            clustered = self._cluster(0)
            if clustered is not None:
                centroids, codes = clustered
                kept = np.ones(dense.shape, np.bool_) if self.mask is None else dense != 0
                dense[kept] = centroids[codes]
        return len(EncodedTensor.from_dense(dense).to_bytes())

    def state(self) -> dict[str, Any]:
        """Everything but the parameter itself, for a checkpoint."""
        centroids = None if self.centroids is None else self.centroids.detach().clone()
        return {
            "mask": None if self.mask is None else self.mask.clone(),
            "centroids": centroids,
            "positions": self._positions.clone(),
            "codes": self._codes.clone(),
            "splicing": self.splicing,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take :meth:`state` back."""
        self.mask = state["mask"]
        centroids = state["centroids"]
        self.centroids = None if centroids is None else nn.Parameter(centroids.clone())
        self._positions, self._codes = state["positions"], state["codes"]
        self.splicing = state["splicing"]

    def _masked(self) -> torch.Tensor:
        assert self.mask is not None
        return self.latent * self.mask

    def _cluster(self, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Centroids (float32) and codes of the kept weights; None where no codebook pays."""
        if self.options.bits is None:
            return None
        values = self.latent.detach().flatten()
        if self.mask is not None:
            values = values[self.mask.flatten()]
        bits = best_code_bits(len(values), self.options.bits, _FLOAT_BYTES)
        entries = 0 if bits is None else (1 << bits) - (self.mask is not None)
        if entries < 1 or not len(values):
            return None
        initialization = self.options.initialization
        return kmeans(values.cpu().numpy(), entries, initialization, self.options.seed + seed)


def _final_density(weight: torch.Tensor, options: LayerOptions) -> float | None:
    """Density that the recipe asks for, or to which its threshold comes before training."""
    if options.structure != "element":
        raise RecipeError(
            f"structure '{options.structure}' cannot be trained, only 'element'; compress without "
            "training (dcc compress) or take another recipe"
        )
    if options.threshold is None:
        return options.density
    kept = weight.abs() >= options.threshold * weight.double().std(unbiased=False)
    return float(kept.double().mean())
