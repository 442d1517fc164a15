"""A torch module with the weights that a recipe compresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from dcc.passes.options import LayerOptions
from dcc.passes.pruning import global_threshold
from dcc.training.compressed_weight import CompressedWeight
from dcc.training.settings import PruneSettings

OptionsOf = Callable[[str], LayerOptions]


class CompressibleModel:
    """Runs a module with the masked or shared forms of its weights.

    Attributes
    ----------
    module
        Its parameters are the values that learn.
    weights
        Those that the recipe prunes or shares, and those that came pruned and stay so, by the name
        of the parameter.
    """

    def __init__(self, module: nn.Module, options_of: OptionsOf) -> None:
        self.module = module
        self.weights: dict[str, CompressedWeight] = {}
        for name, parameter in module.named_parameters():
            options = options_of(name)
            wanted = compresses(options) or (not options.skip and _came_pruned(parameter))
            if parameter.requires_grad and wanted:
                self.weights[name] = CompressedWeight(name, parameter, options)
        _divide_global_density(self.weights.values())

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """Compute the outputs for ``samples`` with the weights as they are stored."""
        effective = {name: weight.effective() for name, weight in self.weights.items()}
        return self.with_weights(effective, samples)

    def with_weights(
        self, effective: Mapping[str, torch.Tensor], samples: torch.Tensor
    ) -> torch.Tensor:
        """Compute the outputs with these weights instead of the parameters of the same names."""
        result = functional_call(self.module, dict(effective), (samples,))
        return result[0] if isinstance(result, (tuple, list)) else result

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Give what the optimiser moves: what the module computes with, and what is behind it.

        Behind centroids are the weights that share them, which only decide the next assignment.
        """
        seen: list[nn.Parameter] = []
        behind: list[nn.Parameter] = []
        for name, parameter in self.module.named_parameters():
            weight = self.weights.get(name)
            shared = weight is not None and weight.centroids is not None
            (behind if shared else seen).append(parameter)
        centroids = (weight.centroids for weight in self.weights.values())
        return [*seen, *(book for book in centroids if book is not None)], behind

    def prune(self, progress: float, settings: PruneSettings, generator: torch.Generator) -> None:
        """Bring every mask to the density of this moment."""
        for weight in self.weights.values():
            weight.splicing = settings.strategy != "magnitude"
            weight.prune(progress, settings, generator)

    def values(self) -> dict[str, torch.Tensor]:
        """Give the dense form of each compressed weight."""
        return {name: weight.value() for name, weight in self.weights.items()}

    @property
    def density(self) -> float:
        """Connections kept, over all of :attr:`weights`; 1 where there are none."""
        size = sum(weight.latent.numel() for weight in self.weights.values())
        return sum(weight.kept for weight in self.weights.values()) / size if size else 1.0

    def projected_bytes(self) -> int:
        """Bytes of the weights in the file as it would be written now."""
        rest = sum(
            4 * parameter.numel()
            for name, parameter in self.module.named_parameters()
            if name not in self.weights
        )
        return rest + sum(weight.projected_bytes() for weight in self.weights.values())

    def state(self) -> dict[str, Any]:
        """Everything that training changes."""
        module = {name: value.clone() for name, value in self.module.state_dict().items()}
        weights = {name: weight.state() for name, weight in self.weights.items()}
        return {"module": module, "weights": weights}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take :meth:`state` back."""
        self.module.load_state_dict(state["module"])
        for name, weight in self.weights.items():
            weight.load(state["weights"][name])


def compresses(options: LayerOptions) -> bool:
    """Whether these options prune or share a weight."""
    asked = (options.density, options.threshold, options.bits)
    stated = any(setting is not None for setting in asked) or options.structure == "n:m"
    return stated and not options.skip


def _came_pruned(parameter: torch.Tensor) -> bool:
    """Whether zeros of a weight are connections that were removed.

    In a vector, a bias mostly, they are values like others: those of a fresh network are all zero.
    """
    return parameter.squeeze().dim() > 1 and bool((parameter.detach() == 0).any())


def _divide_global_density(weights: Iterable[CompressedWeight]) -> None:
    """Give weights that are pruned over the whole model the densities that come of it at first."""
    groups: dict[float, list[CompressedWeight]] = {}
    for weight in weights:
        options = weight.options
        if options.scope == "global" and options.threshold is None and options.density is not None:
            groups.setdefault(options.density, []).append(weight)
    for density, members in groups.items():
        magnitudes = [weight.latent.detach().abs().cpu().numpy() for weight in members]
        threshold = global_threshold(magnitudes, density)
        for weight, magnitude in zip(members, magnitudes, strict=True):
            weight.density = float((magnitude >= threshold).mean())
