"""Which torch function computes an ONNX operator, and what such a function sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from dcc.errors import ModelError
from dcc.importer.graph import Node

Result: TypeAlias = torch.Tensor | tuple[torch.Tensor, ...]


@dataclass
class OperatorCall:
    """One node with the values of its inputs.

    Attributes
    ----------
    values
        In order; None where an optional input is absent.
    opset
        Of the model: some operators took inputs for attributes.
    training
        Whether batch normalisation uses and updates the statistics of the batch.
    fixed_batch
        First dimension that the model was exported for, where it is a number.
    batch
        First dimension of the model's input now.
    """

    node: Node
    values: list[torch.Tensor | None]
    opset: int
    training: bool
    fixed_batch: int | None
    batch: int

    def has(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return index < len(self.values) and self.values[index] is not None

    def tensor(self, index: int = 0) -> torch.Tensor:
        """Input ``index``.

        Raises
        ------
        ModelError
            It is missing.
        """
        value = self.values[index] if index < len(self.values) else None
        if value is None:
            raise self.error(f"input {index} is missing")
        return value

    def optional(self, index: int) -> torch.Tensor | None:
        """Input ``index``, or None."""
        return self.values[index] if index < len(self.values) else None

    def integers(self, index: int, attribute: str = "") -> list[int] | None:
        """Integers of input ``index``, or of ``attribute`` in older models; None: neither."""
        value = self.optional(index)
        if value is not None:
            return [int(number) for number in value.reshape(-1).tolist()]
        stated = self.attribute(attribute) if attribute else None
        return None if stated is None else [int(number) for number in stated]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Attribute ``name``; text is returned as str."""
        value = self.node.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def error(self, reason: str) -> ModelError:
        """Make an error that names this node."""
        return ModelError(f"{self.node.label} cannot be trained: {reason}")


Function: TypeAlias = Callable[[OperatorCall], Result]
OPERATORS: dict[str, Function] = {}


def operator(*names: str) -> Callable[[Function], Function]:
    """Register the decorated function as what computes the operators ``names``."""

    def register(function: Function) -> Function:
        for name in names:
            OPERATORS[name] = function
        return function

    return register
