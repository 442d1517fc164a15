"""Energy counters of the machine: RAPL of processors, NVML of NVIDIA's cards. These measure.

What they count is the whole package or card, with all that runs on it, leakage and idle units: more
than a proxy counts, and other things.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
_MICRO = 1e-6
_MILLI = 1e-3


class Counter(Protocol):
    """Something that counts joules."""

    @property
    def name(self) -> str:
        """What is counted: ``RAPL package-0``, ``NVML NVIDIA H100``."""

    def read(self) -> float:
        """Joules so far, from any beginning; may start again at :attr:`period`."""

    @property
    def period(self) -> float:
        """Joules after which it starts again; 0: never."""


@dataclass(frozen=True)
class RaplCounter:
    """A domain of Linux's powercap interface (``intel-rapl``, which AMD's processors have too)."""

    name: str
    folder: Path
    period: float

    def read(self) -> float:
        """Read ``energy_uj``."""
        return int((self.folder / "energy_uj").read_text()) * _MICRO


@dataclass(frozen=True)
class NvmlCounter:
    """The total of a card since its driver was loaded."""

    name: str
    library: Any
    handle: Any
    period: float = 0.0

    def read(self) -> float:
        """Ask the driver."""
        return float(self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle)) * _MILLI


@dataclass(frozen=True)
class Counters:
    """The counters that can be read, and why others cannot."""

    counters: list[Counter] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MeasuredEnergy:
    """What one counter measured.

    Attributes
    ----------
    joules
        Of one call, on average; the whole package or card.
    calls, seconds
        How many calls were measured, in which time.
    """

    counter: str
    joules: float
    calls: int
    seconds: float

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules * self.calls / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return {"kind": "measured", **asdict(self), "watts": self.watts}


def find_counters(powercap: Path = POWERCAP, *, cards: bool = False) -> Counters:
    """Look for counters of the processor's packages, and of the cards if ``cards``."""
    found = _rapl(powercap)
    if cards:
        other = _nvml()
        found = Counters(found.counters + other.counters, found.missing + other.missing)
    return found


def _rapl(powercap: Path) -> Counters:
    counters: list[Counter] = []
    missing = []
    # Packages only: the domains below them (core, uncore, dram) are parts, or overlap.
    folders = sorted(each for each in powercap.glob("*rapl*:*") if each.name.count(":") == 1)
    for folder in folders:
        if folder.name.startswith("intel-rapl-mmio"):
            continue  # the same package by another way
        try:
            name = (folder / "name").read_text().strip()
            period = int((folder / "max_energy_range_uj").read_text()) * _MICRO
            counter = RaplCounter(f"RAPL {name}", folder, period)
            counter.read()
        except PermissionError:
            missing.append(
                f"RAPL: '{folder / 'energy_uj'}' may be read by root only; run as root, or let "
                "root do: chmod a+r that file"
            )
        except (OSError, ValueError) as error:
            missing.append(f"RAPL: '{folder}' cannot be read ({error})")
        else:
            counters.append(counter)
    if not folders:
        missing.append(f"RAPL: there is none below {powercap} (a virtual machine, or no Linux)")
    return Counters(counters, missing)


def _nvml() -> Counters:
    try:
        import pynvml
    except ImportError:
        return Counters(missing=["NVML: 'nvidia-ml-py' is not installed (pip install '.[cuda]')"])
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        name = pynvml.nvmlDeviceGetName(handle)
        name = name.decode() if isinstance(name, bytes) else name
        counter = NvmlCounter(f"NVML {name}", pynvml, handle)
        counter.read()
    except pynvml.NVMLError as error:
        return Counters(missing=[f"NVML: {error}"])
    return Counters([counter])


def measure_energy(
    run: Callable[[], object],
    counters: Sequence[Counter],
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[MeasuredEnergy]:
    """Call ``run`` for ``seconds`` and read the counters; several readings tell a wrapped one.

    Raises
    ------
    OSError
        A counter that could be read before can be read no more.
    """
    if not counters:
        return []
    run()
    last = [counter.read() for counter in counters]
    totals = [0.0] * len(counters)
    calls, start = 0, clock()
    read = start
    while True:
        run()
        calls += 1
        now = clock()
        done = now - start >= seconds
        # A period is minutes at full power; a reading a second cannot miss a whole one.
        if done or now - read >= 1.0:
            for number, counter in enumerate(counters):
                value = counter.read()
                totals[number] += _difference(last[number], value, counter.period)
                last[number] = value
            read = now
        if done:
            break
    return [
        MeasuredEnergy(counter.name, total / calls, calls, read - start)
        for counter, total in zip(counters, totals, strict=True)
    ]


def _difference(before: float, after: float, period: float) -> float:
    """Joules between two readings; a counter that went backwards has started again."""
    return after - before if after >= before else after - before + period
