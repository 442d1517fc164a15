"""The values behind the weight parameters of a module, while passes rewrite them.

A pass is a function of the module; what it computes from the weights themselves (masks, codes, codebooks) stands here, under
the names of the Relax parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dcc.codegen.packed import PackedWeight

Array = npt.NDArray[np.generic]


@dataclass
class WeightTable:
    """Values and origins of parameters.

    Attributes
    ----------
    arrays
        Relax parameter name -> value; weights first, then what passes add.
    onnx_names
        Relax parameter name of a weight -> name of the ONNX tensor.
    operator_types
        Relax parameter name of a weight -> ONNX operator type that reads it as a weight, ``bias`` for other tensors.
    reasons
        Relax parameter name -> what passes say about it, in the order of the passes.
    owners
        Parameter that a pass added -> the weight that it is a part of.
    choices
        Layer (ONNX name of its weight) -> (storage form, why) for each operator that reads it.
    packed
        Kernel's function name -> the weight that it reads.
    layer_packed
        Layer -> what the module stores of its weight, one for each operator that reads it.
    """

    arrays: dict[str, Array]
    onnx_names: dict[str, str]
    operator_types: Mapping[str, str] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    packed: dict[str, PackedWeight] = field(default_factory=dict)
    layer_packed: dict[str, list[PackedWeight]] = field(default_factory=dict)

    def layer(self, parameter: str) -> str:
        """Name under which the user knows a weight."""
        return self.onnx_names.get(parameter, parameter)

    def say(self, parameter: str, reason: str) -> None:
        """Note why a pass did or did not do something."""
        self.reasons.setdefault(parameter, []).append(reason)

    def owner(self, parameter: str) -> str:
        """The weight that ``parameter`` is, or is a part of."""
        return self.owners.get(parameter, parameter)

    def add(self, wish: str, array: Array, owner: str) -> str:
        """Store a part of the weight ``owner`` under ``wish``, or a name made from it, and return the name."""
        name, number = wish, 1
        while name in self.arrays:
            number += 1
            name = f"{wish}_{number}"
        self.arrays[name] = array
        self.owners[name] = self.owner(owner)
        return name

    def note_packed(
        self, layer: str, packed: PackedWeight, replace: PackedWeight | None = None
    ) -> None:
        """Note what the module stores for ``layer``, in the place of ``replace`` where that is given."""
        stored = self.layer_packed.setdefault(layer, [])
        if replace is not None:
            stored[:] = [packed if item is replace else item for item in stored]
        else:
            stored.append(packed)
