"""What an operation and an access cost, as data: picojoules, and where each number comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

EIE = "EIE (Han et al. 2016), Table I: 45 nm, after Horowitz, ISSCC 2014"
HOROWITZ = "Horowitz, ISSCC 2014, figure 1.1.9: 45 nm, 0.9 V"
_DEFAULT_SOURCES = {
    "integer_add": EIE,
    "float_add": EIE,
    "integer_multiply": EIE,
    "float_multiply": EIE,
    "sram_word": f"{EIE}; 32 bits of a 32 KB SRAM",
    "dram_word": f"{EIE}; 32 bits of LPDDR2",
    "large_sram_word": f"{HOROWITZ}; half of a 64-bit access to a 1 MB cache",
    "byte_add": f"{HOROWITZ}; 8-bit integers",
    "byte_multiply": f"{HOROWITZ}; 8-bit integers",
    "half_add": f"{HOROWITZ}; 16-bit floating point",
    "half_multiply": f"{HOROWITZ}; 16-bit floating point",
}


@dataclass(frozen=True)
class EnergyTable:
    """Energy of one operation, or of moving one 32-bit word, in picojoules.

    Attributes
    ----------
    integer_add, integer_multiply
        Integers of more than 8 bits; an addition stands for every simple operation (shifts,
        comparisons, logic, choices, permutes).
    float_add, float_multiply
        float32 and wider.
    sram_word
        A word of the first cache level, of a GPU's shared memory, of an accelerator's scratchpad.
    dram_word
        A word of main memory.
    large_sram_word
        A word of the cache levels behind the first.
    byte_add, byte_multiply, half_add, half_multiply
        Integers of 8 bits, floating point of 16.
    sources
        Name of a number -> where it comes from. Defaults have their own.
    """

    integer_add: float = 0.1
    float_add: float = 0.9
    integer_multiply: float = 3.1
    float_multiply: float = 3.7
    sram_word: float = 5.0
    dram_word: float = 640.0
    large_sram_word: float = 50.0
    byte_add: float = 0.03
    byte_multiply: float = 0.2
    half_add: float = 0.4
    half_multiply: float = 1.1
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = {
            each.name: _DEFAULT_SOURCES[each.name]
            if getattr(self, each.name) == each.default
            else "given with the target"
            for each in _numbers()
        }
        object.__setattr__(self, "sources", MappingProxyType(named | dict(self.sources)))

    def describe(self) -> dict[str, list[Any]]:
        """Name -> (picojoules, source), as a module's metadata holds the table."""
        return {
            each.name: [getattr(self, each.name), self.sources[each.name]] for each in _numbers()
        }

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> EnergyTable:
        """Read back what :meth:`describe` gave.

        Raises
        ------
        KeyError, TypeError, ValueError, IndexError
            It is damaged.
        """
        numbers = {each.name: float(described[each.name][0]) for each in _numbers()}
        sources = {each.name: str(described[each.name][1]) for each in _numbers()}
        if not all(0.0 <= value < float("inf") for value in numbers.values()):
            raise ValueError("a negative or infinite number of picojoules")
        return cls(**numbers, sources=sources)


def _numbers() -> list[Any]:
    return [each for each in fields(EnergyTable) if each.name != "sources"]


def energy_table(source: str, **numbers: float) -> EnergyTable:
    """Make a table all of whose given numbers come from one source."""
    return EnergyTable(**numbers, sources=dict.fromkeys(numbers, source))
