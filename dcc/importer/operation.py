"""One ONNX node with its inputs resolved: what an operator's converter sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import relax

from dcc.errors import ModelError
from dcc.importer.graph import Node

Value: TypeAlias = "np.ndarray | relax.Expr"
"""A tensor of the graph: known at import (an array) or computed (a Relax variable)."""


@dataclass(frozen=True)
class Operation:
    """A node, the values of its inputs, and the means to emit Relax code for it.

    Attributes
    ----------
    node
        The ONNX node.
    values
        One per input of the node; None for an absent optional input.
    parameters
        Relax parameter name -> value, for converters that need a small parameter's value.
    builder
        Emits bindings into the current block.
    opset
        Version of the default operator set.
    """

    node: Node
    values: tuple[Value | None, ...]
    parameters: dict[str, np.ndarray]
    builder: relax.BlockBuilder
    opset: int

    def has(self, index: int) -> bool:
        """Whether input ``index`` is given."""
        return index < len(self.values) and self.values[index] is not None

    def tensor(self, index: int) -> relax.Expr:
        """Input ``index`` as a Relax expression."""
        value = self.values[index] if index < len(self.values) else None
        if value is None:
            raise self.error(f"input {index} is missing")
        return constant(value) if isinstance(value, np.ndarray) else value

    def known(self, index: int) -> np.ndarray | None:
        """Value of input ``index`` if it does not depend on the model's inputs, else None."""
        value = self.values[index] if index < len(self.values) else None
        if isinstance(value, np.ndarray) or value is None:
            return value
        return self.parameters.get(value.name) if isinstance(value, relax.Var) else None

    def constant(self, index: int, meaning: str) -> np.ndarray:
        """Value of input ``index``, which must be known at import.

        Raises
        ------
        ModelError
            If it is computed from the model's inputs.
        """
        value = self.known(index)
        if value is None:
            raise self.error(f"its {meaning} (input {index}) must be a constant of the model")
        return value

    def integers(self, index: int, meaning: str) -> list[int]:
        """Give a constant input as a list of integers."""
        return [int(i) for i in self.constant(index, meaning).reshape(-1)]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Give the static shape of input ``index``."""
        value = self.values[index]
        if isinstance(value, np.ndarray):
            return value.shape
        return static_shape(self.tensor(index))

    def dtype(self, index: int = 0) -> str:
        """Element type of input ``index``."""
        value = self.values[index]
        return (
            str(value.dtype) if isinstance(value, np.ndarray) else element_type(self.tensor(index))
        )

    def rank(self, index: int = 0) -> int:
        """Count the dimensions of input ``index``."""
        return len(self.shape(index))

    def attribute(self, name: str, default: Any = None) -> Any:
        """Attribute ``name``; text is returned as str."""
        value = self.node.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def axis(self, default: int, rank: int | None = None) -> int:
        """Attribute ``axis``, counted from the front."""
        return self.normal_axis(self.attribute("axis", default), rank)

    def normal_axis(self, axis: int, rank: int | None = None) -> int:
        """``axis`` counted from the front.

        Raises
        ------
        ModelError
            If the tensor has no such axis.
        """
        rank = self.rank() if rank is None else rank
        if not -rank <= axis < max(rank, 1):
            raise self.error(f"axis {axis} is outside a tensor of {rank} dimensions")
        return int(axis) % max(rank, 1)

    def emit(self, expression: relax.Expr) -> relax.Var:
        """Bind ``expression`` to a new variable."""
        return self.builder.emit(expression)

    def scalar(self, value: float, index: int = 0) -> relax.Expr:
        """Make a constant of the element type of input ``index``."""
        return relax.const(value, self.dtype(index))

    def error(self, reason: str) -> ModelError:
        """Make an error that names this node."""
        return ModelError(f"{self.node.label}: {reason}")


def constant(value: np.ndarray) -> relax.Expr:
    """Make a constant of the array's own type (``relax.const`` alone makes int64 an int32)."""
    return relax.const(value, str(value.dtype))


def static_shape(expression: relax.Expr) -> tuple[int, ...]:
    """Shape of a tensor expression of static shape."""
    return tuple(int(size) for size in expression.ty.shape)


def element_type(expression: relax.Expr) -> str:
    """Element type of a tensor expression."""
    return str(expression.ty.dtype.dtype)
