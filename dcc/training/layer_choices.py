"""What one weight becomes under a density and a number of bits: its values and its bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.passes.options import LayerOptions
from dcc.passes.pruning import magnitude_mask, nonzero_mask
from dcc.passes.sharing import cluster, regroup

DENSITIES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.02, 0.01)
BITS = (8, 6, 5, 4, 3, 2, 1)


@dataclass(frozen=True)
class LayerChoice:
    """Settings of one weight.

    Attributes
    ----------
    density
        Share of the weights that is kept; 1 prunes nothing.
    bits
        Upper bound of the code width; None keeps the values.
    """

    density: float = 1.0
    bits: int | None = None

    def settings(self) -> dict[str, Any]:
        """As a recipe states them."""
        return {"density": None if self.density == 1.0 else self.density, "bits": self.bits}


def compressed(weight: npt.NDArray[np.floating], choice: LayerChoice) -> EncodedTensor:
    """Prune and share one weight as the passes do with these settings."""
    mask = nonzero_mask(weight) if choice.density == 1.0 else magnitude_mask(weight, choice.density)
    kept = None if mask.all() else mask
    if choice.bits is not None:
        clusters = cluster(weight, kept, LayerOptions(bits=choice.bits))
        if clusters is not None:
            kept, shared = regroup(*clusters)
            if shared is not None:
                return EncodedTensor.from_codes(kept, *shared)
    if kept is None:
        return EncodedTensor.from_dense(weight)
    return EncodedTensor.from_values(kept, weight[kept])
