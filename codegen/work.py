"""What a module's kernels do in one run, as its metadata holds it: operations and bytes moved.

"work": {"energy": {...}, "last_level": bytes, "touched": bytes,
"calls": [{"kernel", "layer", "operations": {}, "bytes": {}, "weights"}], "load": [],
"notes": []}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dcc.targets.energy import EnergyTable

ARITHMETIC = "arithmetic"
"""The part of the energy that is no level of memory."""
_WORD_BYTES = 4
WORK = "work"
"""Key of the metadata."""
LEVELS = ("level1", "level2", "last_level", "dram")
OPERATIONS = (
    "float_add",
    "float_multiply",
    "half_add",
    "half_multiply",
    "integer_add",
    "integer_multiply",
    "byte_add",
    "byte_multiply",
    "special",
)
"""Kinds of operations; ``special`` are divisions, roots, exponentials and the like."""


@dataclass(frozen=True)
class CallWork:
    """One call of a kernel.

    Attributes
    ----------
    layer
        Name of the coded weight that it reads; empty for ordinary operators.
    operations
        Kind (:data:`OPERATIONS`) -> how many, each lane of a vector counted.
    bytes
        Level (:data:`LEVELS`) -> bytes that it delivers or takes.
    weights
        Of the bytes from ``dram``, those of constants.
    """

    kernel: str
    layer: str
    operations: Mapping[str, float]
    bytes: Mapping[str, float]
    weights: float = 0.0


@dataclass(frozen=True)
class ModuleWork:
    """One run of a module.

    Attributes
    ----------
    last_level
        Bytes of the target's last cache level.
    touched
        Bytes of all weights and activations.
    load
        Calls that are made once, when the module is loaded.
    notes
        What could not be counted, or only from above.
    """

    table: EnergyTable
    last_level: int
    touched: float
    calls: tuple[CallWork, ...]
    load: tuple[CallWork, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """As the metadata hold it."""
        return {
            "energy": self.table.describe(),
            "last_level": self.last_level,
            "touched": round(self.touched),
            "calls": [_call_to_json(call) for call in self.calls],
            "load": [_call_to_json(call) for call in self.load],
            "notes": list(self.notes),
        }


def priced(
    operations: Mapping[str, float], moved: Mapping[str, float], table: EnergyTable
) -> dict[str, float]:
    """Picojoules by part: ``arithmetic``, and each level of memory.

    A special function takes as much as a multiplication, which is a lower bound.
    """
    words = {
        "level1": table.sram_word,
        "level2": table.large_sram_word,
        "last_level": table.large_sram_word,
        "dram": table.dram_word,
    }
    arithmetic = sum(count * price_of(kind, table) for kind, count in operations.items())
    return {
        ARITHMETIC: arithmetic,
        **{level: size / _WORD_BYTES * words[level] for level, size in moved.items()},
    }


def price_of(kind: str, table: EnergyTable) -> float:
    """Picojoules of one operation."""
    return float(getattr(table, "float_multiply" if kind == "special" else kind))


def _call_to_json(call: CallWork) -> dict[str, Any]:
    facts = asdict(call)
    for key in ("operations", "bytes"):
        facts[key] = {name: round(count) for name, count in facts[key].items()}
    return facts | {"weights": round(call.weights)}


def work_from_json(facts: Mapping[str, Any]) -> ModuleWork:
    """Read back what :meth:`ModuleWork.to_json` gave; the file is not trusted.

    Raises
    ------
    KeyError, TypeError, ValueError, IndexError, AttributeError
        It is damaged.
    """
    return ModuleWork(
        EnergyTable.from_json(facts["energy"]),
        int(facts["last_level"]),
        _number(facts["touched"]),
        tuple(_call(call) for call in facts["calls"]),
        tuple(_call(call) for call in facts["load"]),
        tuple(str(note) for note in facts["notes"]),
    )


def _call(facts: Mapping[str, Any]) -> CallWork:
    return CallWork(
        str(facts["kernel"]),
        str(facts["layer"]),
        _numbers(facts["operations"], OPERATIONS),
        _numbers(facts["bytes"], LEVELS),
        _number(facts["weights"]),
    )


def _numbers(values: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, float]:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"'{unknown[0]}' is none of {', '.join(known)}")
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{value} is no count")
    return number
