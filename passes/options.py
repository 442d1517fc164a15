"""The options of the compression passes: what a recipe says, resolved per layer.

A recipe has global, per-operator-type and per-layer settings, in that order of precedence. The YAML
is read in ``dcc``; the passes only see these dataclasses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Initialization = Literal["linear", "density", "random"]
Structure = Literal["element", "n:m", "block", "channel-block"]


@dataclass(frozen=True)
class LayerOptions:
    """How one weight is compressed.

    Attributes
    ----------
    skip
        Leave the weight as it is: raw values, no mask, no codebook.
    density
        Fraction of weights to keep, 0 to 1; None prunes nothing and takes the zeros that are there
        as the mask.
    threshold
        Wins over a density: keep what is at least so many standard deviations of the weight in
        magnitude (Han et al. 2015).
    scope
        Whether the magnitude threshold is found in each layer or over all layers of the model that
        say "global".
    structure, n, m, block
        "element" prunes single weights; "n:m" keeps the ``n`` largest of every ``m`` along the
        reduction axis; "block" keeps or drops whole blocks of ``block`` (rows, columns) of the
        weight seen as (output channels, the rest); "channel-block" does so with blocks of (output
        channels, input channels) at one position of a convolution's kernel.
    bits
        Upper bound of the code width in bits (1 to 8): at most ``2**bits`` distinct values with
        zero among them. None shares losslessly: a codebook of the distinct values where they are
        few enough, raw values otherwise.
    initialization
        k-means start (Han, Mao, Dally 2016, section 3.1).
    seed
        Of the random initialisation.
    """

    skip: bool = False
    density: float | None = None
    threshold: float | None = None
    scope: Literal["layer", "global"] = "layer"
    structure: Structure = "element"
    n: int = 2
    m: int = 4
    block: tuple[int, int] = (1, 4)
    bits: int | None = None
    initialization: Initialization = "linear"
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """Settings of a whole model; ``for_layer`` resolves them.

    Attributes
    ----------
    settings
        Settings for every layer, keyed by the field names of :class:`LayerOptions`.
    operator_types
        Settings by ONNX operator type (``Conv``, ``Gemm``, ``MatMul``, ``Gather``, ``LSTM``,
        ``GRU``), and ``bias`` for the small tensors beside them.
    layers
        (name or regular expression, settings) in the order of the file; later ones win.
    training
        How `dcc finetune` learns (see :mod:`dcc.training.settings`); compression ignores it.
    """

    name: str = "lossless"
    settings: Mapping[str, Any] = field(default_factory=dict)
    operator_types: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)

    def for_layer(self, name: str, operator_type: str) -> LayerOptions:
        """Options of the weight ``name`` that an ONNX node of ``operator_type`` consumes."""
        options = replace(LayerOptions(), **self.settings)
        options = replace(options, **self.operator_types.get(operator_type, {}))
        for pattern, settings in self.layers:
            if pattern == name or re.fullmatch(pattern, name):
                options = replace(options, **settings)
        return options

    def unused_layers(self, names: Collection[str]) -> list[str]:
        """Return those keys of ``layers`` that match none of the weights ``names``."""
        return [
            pattern
            for pattern, _ in self.layers
            if not any(pattern == name or re.fullmatch(pattern, name) for name in names)
        ]
