"""The values behind the weight parameters of a module, while passes rewrite them.

A pass is a function of the module; what it computes from the weights themselves (masks, codes,
codebooks) stands here, under the names of the Relax parameters.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from dcc.codegen.packed import PackedWeight

if TYPE_CHECKING:
    from dcc.codegen.vta.program import Operation
    from dcc.passes.offload.storage import OffloadedLayer

_log = logging.getLogger(__name__)
Array = npt.NDArray[np.generic]
Part = Literal["mask", "codes", "codebook"]


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
        Relax parameter name of a weight -> ONNX operator type that reads it as a weight; ``bias``
        for other tensors.
    reserved
        Names that no new parameter may have: the inputs of the module.
    importance
        Relax parameter name of a weight -> what the square of an error of each element costs, as
        many numbers as the weight has elements; weights without one count every element alike.
    parts
        Relax parameter name of a weight -> its mask, codes and codebook, by parameter name.
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
    operations
        What the module runs on an accelerator, by number.
    offloaded
        Layer -> how the accelerator stores its weight.
    """

    arrays: dict[str, Array]
    onnx_names: dict[str, str]
    operator_types: Mapping[str, str] = field(default_factory=dict)
    reserved: frozenset[str] = frozenset()
    importance: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    parts: dict[str, dict[Part, str]] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    packed: dict[str, PackedWeight] = field(default_factory=dict)
    layer_packed: dict[str, list[PackedWeight]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    offloaded: dict[str, OffloadedLayer] = field(default_factory=dict)

    def layer(self, parameter: str) -> str:
        """Return the name under which the user knows a weight."""
        return self.onnx_names.get(parameter, parameter)

    def operator_type(self, parameter: str) -> str:
        """Return the ONNX operator type that reads a weight, ``bias`` where none does."""
        return self.operator_types.get(parameter, "bias")

    def say(self, parameter: str, reason: str) -> None:
        """Note, once, why a pass did or did not do something."""
        reasons = self.reasons.setdefault(parameter, [])
        if reason not in reasons:
            reasons.append(reason)
            _log.info("%s: %s", self.layer(parameter), reason)

    def say_of_layer(self, layer: str, reason: str) -> None:
        """Note a reason under the name by which the user knows a weight."""
        for parameter, name in self.onnx_names.items():
            if name == layer:
                self.say(parameter, reason)

    def owner(self, parameter: str) -> str:
        """Return the weight that ``parameter`` is, or is a part of."""
        return self.owners.get(parameter, parameter)

    def add(self, wish: str, array: Array, owner: str) -> str:
        """Store what belongs to the weight ``owner`` as ``wish``, or a name made from it.

        Returns
        -------
        str
            The parameter's name: no input, weight or earlier addition has it.
        """
        name, number = wish, 1
        while name in self.arrays or name in self.reserved:
            number += 1
            name = f"{wish}_{number}"
        self.arrays[name] = array
        self.owners[name] = self.owner(owner)
        return name

    def add_part(self, weight: str, part: Part, array: Array) -> str:
        """Store, or replace, the mask, the codes or the codebook of a weight; return its name."""
        parts = self.parts.setdefault(weight, {})
        if part not in parts:
            parts[part] = self.add(f"{weight}_{part}", array, weight)
        self.arrays[parts[part]] = array
        return parts[part]

    def part(self, weight: str, part: Part) -> Array | None:
        """Return the mask, the codes or the codebook of a weight; None where it has none."""
        name = self.parts.get(weight, {}).get(part)
        return None if name is None else self.arrays[name]

    def mask(self, weight: str) -> npt.NDArray[np.bool_] | None:
        """Return the mask of a weight; None where no position is skipped."""
        mask = self.part(weight, "mask")
        return None if mask is None else mask.astype(np.bool_, copy=False)

    def note_packed(
        self, layer: str, packed: PackedWeight, replace: PackedWeight | None = None
    ) -> None:
        """Note what the module stores for ``layer``, in the place of ``replace`` if given."""
        stored = self.layer_packed.setdefault(layer, [])
        if replace is not None:
            stored[:] = [packed if item is replace else item for item in stored]
        else:
            stored.append(packed)
