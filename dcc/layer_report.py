"""The shape of a report: a file, its layers, and where their bytes go."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["onnx", "container", "module"]
PARTS = ("weights", "indices", "codebook", "tables", "padding")


@dataclass(frozen=True)
class LayerReport:
    """One weight tensor.

    Attributes
    ----------
    density
        Share of weights that are not zero.
    form
        How it is stored: for a module the storage form, otherwise the parts of its encoding.
    reason
        Why it has that form.
    bytes
        By part (``weights``, ``indices``, ``codebook``, ``tables``, ``padding``), and their
        ``total``.
    dense_bytes
        What the tensor takes uncompressed.
    weight_bits, index_bits
        Width of a code and of a gap; None where the layer has none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    density: float
    form: str
    reason: str
    bytes: dict[str, int]
    dense_bytes: int
    weight_bits: int | None = None
    index_bits: int | None = None

    @property
    def ratio(self) -> float:
        """Dense bytes over stored bytes."""
        return self.dense_bytes / max(self.bytes["total"], 1)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return {**asdict(self), "shape": list(self.shape), "ratio": round(self.ratio, 4)}


@dataclass(frozen=True)
class Report:
    """A file and its layers.

    Attributes
    ----------
    file_bytes
        Size of the file itself, without the external data that an ONNX model may have.
    parts
        For a module: bytes of ``code``, ``weights`` and the ``rest``.
    details
        What else the file says: recipe, target, inputs, outputs.
    """

    path: str
    kind: Kind
    file_bytes: int
    layers: list[LayerReport]
    parts: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def dense_bytes(self) -> int:
        """What all layers take uncompressed."""
        return sum(layer.dense_bytes for layer in self.layers)

    @property
    def stored_bytes(self) -> int:
        """What all layers take as they are stored."""
        return sum(layer.bytes["total"] for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return {
            "path": self.path,
            "kind": self.kind,
            "file_bytes": self.file_bytes,
            "dense_bytes": self.dense_bytes,
            "stored_bytes": self.stored_bytes,
            **({"parts": self.parts} if self.parts else {}),
            **self.details,
            "layers": [layer.to_json() for layer in self.layers],
        }
