"""What a report says, as plain data; ``dcc report --json`` writes it as it stands here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA = "dcc-report"
SCHEMA_VERSION = 1
PARTS = ("weights", "indices", "codebook", "tables", "padding")
StageName = Literal["dense", "pruned", "shared", "huffman"]
AUTO = "auto"
"""Choice of storage that lets each layer have the form that is best for the objective."""
STAGES: tuple[StageName, ...] = ("dense", "pruned", "shared", "huffman")
Timing = Literal["measured", "estimated", "simulated", "none"]
PartBytes = dict[str, int]
"""Bytes by part (:data:`PARTS`), and their ``total``."""


@dataclass(frozen=True)
class Stage:
    """All weights after one stage.

    Attributes
    ----------
    file_bytes
        Size of the file: the ONNX model for ``dense``, the container for ``huffman``; None between.
    accuracy
        Percent right on the data, by a compiled module; None where it was not measured.
    note
        Why it was not.
    """

    name: StageName
    bytes: PartBytes
    file_bytes: int | None = None
    accuracy: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Histogram:
    """Counts between neighbouring edges; one more edge than counts."""

    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class CodeUse:
    """How many kept weights have each value of the codebook, in the order of the values."""

    values: list[float]
    counts: list[int]


@dataclass(frozen=True)
class Layer:
    """One weight tensor.

    Attributes
    ----------
    operator
        ONNX operator that reads it as a weight; ``bias`` for other tensors.
    density
        Share of weights that are not zero.
    levels
        Entries of its codebook; None without one.
    weight_bits, index_bits
        Width of a code and of a gap; None where it has none.
    entropy_coded
        Streams that are Huffman-coded: ``gaps``, ``codes``, ``entries`` (both in one symbol).
    bytes
        By stage, then by part.
    codes
        Use of the codebook.
    values
        Kept values of a tensor without a codebook.
    row_density
        How many output rows keep which share of their weights.
    """

    name: str
    operator: str
    shape: list[int]
    dtype: str
    weights: int
    density: float
    levels: int | None
    weight_bits: int | None
    index_bits: int | None
    entropy_coded: list[str]
    bytes: dict[StageName, PartBytes]
    codes: CodeUse | None = None
    values: Histogram | None = None
    row_density: Histogram | None = None

    @property
    def ratio(self) -> float:
        """Dense bytes over stored bytes."""
        return self.bytes["dense"]["total"] / max(self.bytes["huffman"]["total"], 1)


@dataclass(frozen=True)
class LayerCost:
    """A layer in a module.

    Attributes
    ----------
    form, reason
        Storage form, and why.
    stored_bytes
        Of its weight in the module.
    seconds
        Of one run; None where it was not timed.
    picojoules
        Energy proxy of one run by part: arithmetic, and levels of memory; empty where it was not
        counted.
    """

    name: str
    form: str
    reason: str
    stored_bytes: int
    seconds: float | None = None
    picojoules: dict[str, float] = field(default_factory=dict)

    @property
    def energy(self) -> float | None:
        """Energy proxy of all parts in picojoules; None where it was not counted."""
        return sum(self.picojoules.values()) if self.picojoules else None


@dataclass(frozen=True)
class Variant:
    """A module compiled with one choice of ``--storage``.

    Attributes
    ----------
    seconds, p10_seconds, p90_seconds
        Of one run of the whole module: median and tenths where it was measured; a sum of parts
        where it was estimated or simulated.
    other_seconds
        What the parts that belong to no layer take: other operators, the runtime.
    picojoules, other_picojoules
        Energy proxies: of everything, and of what belongs to no layer.
    notes
        Why something is missing.
    """

    storage: str
    module_bytes: int | None = None
    seconds: float | None = None
    p10_seconds: float | None = None
    p90_seconds: float | None = None
    other_seconds: float | None = None
    picojoules: float | None = None
    other_picojoules: float | None = None
    layers: list[LayerCost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Device:
    """A target and what the model takes on it.

    Attributes
    ----------
    timing
        How the times came about; ``none``: it cannot be timed here.
    about
        One line: what was timed and how, or why not.
    variants
        ``auto`` first, then a storage form each.
    reference_seconds
        ONNX Runtime on the dense model, measured in the same run.
    energy_table
        Name -> (picojoules, source) of the energies behind the proxies.
    energy_notes
        What the proxies leave out, and what in them is an upper bound.
    """

    name: str
    description: str
    timing: Timing
    about: str
    variants: list[Variant] = field(default_factory=list)
    reference_seconds: float | None = None
    energy_table: dict[str, list[Any]] = field(default_factory=dict)
    energy_notes: list[str] = field(default_factory=list)

    def variant(self, storage: str) -> Variant | None:
        """Return the variant with this choice of storage."""
        return next((each for each in self.variants if each.storage == storage), None)


@dataclass(frozen=True)
class Point:
    """Size against accuracy; ``kind`` says whether a stage of the recipe or another recipe."""

    label: str
    kind: Literal["stage", "recipe"]
    bytes: int
    accuracy: float


@dataclass(frozen=True)
class Data:
    """The labelled data of the accuracies."""

    name: str
    samples: int
    about: str


@dataclass(frozen=True)
class Provenance:
    """Where the numbers come from.

    Attributes
    ----------
    model_sha256
        Of the model file's bytes.
    recipe_text
        The recipe as YAML, with all that it extends.
    options
        What was asked for.
    machine
        Processor, system, versions: see :func:`dcc.machine.machine_facts`.
    date
        ISO 8601, UTC.
    """

    model: str
    model_bytes: int
    model_sha256: str
    recipe: str
    recipe_text: str
    options: dict[str, Any]
    seed: int
    machine: dict[str, Any]
    date: str


@dataclass(frozen=True)
class CompressionReport:
    """Everything that a report says."""

    provenance: Provenance
    stages: list[Stage]
    layers: list[Layer]
    devices: list[Device]
    points: list[Point] = field(default_factory=list)
    data: Data | None = None
    schema: str = SCHEMA
    version: int = SCHEMA_VERSION

    def stage(self, name: StageName) -> Stage:
        """Return one stage."""
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def ratio(self) -> float:
        """Bytes of the model file over those of the container."""
        after = self.stage("huffman").file_bytes or 1
        return (self.stage("dense").file_bytes or 0) / after

    @property
    def density(self) -> float:
        """Share of all weights that are not zero."""
        size = sum(layer.weights for layer in self.layers)
        return sum(layer.density * layer.weights for layer in self.layers) / size if size else 1.0

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return asdict(self)

    def to_html(self) -> str:
        """Draw the page: one file that needs nothing else."""
        from dcc.reporting.page import render

        return render(self)
