"""Numbers as people read them: three significant digits and the unit that fits."""

from __future__ import annotations

import math

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_ENERGIES = ((1e12, "J"), (1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
NOTHING = "-"
_LONGEST_NAME = 46


def time_text(seconds: float | None) -> str:
    """Seconds, from nanoseconds up."""
    return _scaled(seconds, _TIMES)


def energy_text(picojoules: float | None) -> str:
    """Energy, from picojoules up."""
    return _scaled(picojoules, _ENERGIES)


def size_text(count: float | None) -> str:
    """Bytes, in powers of a thousand."""
    return NOTHING if count is None else _scaled(count, _SIZES)


def count_text(count: int | None) -> str:
    """Whole numbers with thousands separated."""
    return NOTHING if count is None else f"{count:,}"


def percent_text(share: float | None, digits: int = 1) -> str:
    """Make percent of a share of one."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def ratio_text(ratio: float | None) -> str:
    """How many times, with three significant digits."""
    return NOTHING if ratio is None or not math.isfinite(ratio) else f"{_digits(ratio)}x"


def short_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """Cut a name in its middle, where names of layers are most alike."""
    name = " ".join(name.split())
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[len(name) - (longest - 1 - head) :]}"


def _scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    if value is None or not math.isfinite(value):
        return NOTHING
    for factor, unit in units:
        # 999.9 of a unit would be written as 1000 of it.
        if abs(value) >= 0.9995 * factor:
            return f"{_digits(value / factor)} {unit}"
    factor, unit = units[-1]
    return f"{_digits(value / factor)} {unit}" if value else f"0 {unit}"


def _digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return "0"
    exponent = int(f"{value:.2e}".partition("e")[2])  # of the rounded number
    return f"{value:,.{min(max(2 - exponent, 0), 6)}f}"
