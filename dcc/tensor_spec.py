"""What an input or output of a module looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TensorSpec:
    """Name (as in the ONNX model), shape and numpy dtype of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TensorSpec:
        """Read what :meth:`to_json` wrote."""
        return cls(value["name"], tuple(value["shape"]), value["dtype"])

    def to_json(self) -> dict[str, Any]:
        """As a module's metadata has it."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"
