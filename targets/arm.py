"""ARM targets, 64-bit: cores of phones and small boards, one server core, and any Android phone.

Features, caches and pipelines are those of the cores' technical reference manuals and software
optimisation guides; clock and bandwidth are those of usual boards (Raspberry Pi 3, 4 and 5) and of
an N1 server, one core at work. What LLVM has no scheduling model of its own for takes that of the
nearest core: A76 and N1 are one pipeline, A72 follows A57.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcc.targets.energy import EnergyTable, energy_table
from dcc.targets.target import Caches, Pipeline, Target

LINUX, ANDROID = "aarch64-linux-gnu", "aarch64-linux-android"
VECTOR_FLOATS = 4
_BASE = ("neon",)
_DOT_PRODUCTS = (*_BASE, "dotprod", "fullfp16")
_KIB, _MIB = 1024, 1024 * 1024

_MOBILE_ENERGY = energy_table(
    "estimate: about a quarter of Horowitz's 45 nm figures at 16 nm; LPDDR4 at about 4 pJ a bit",
    integer_add=0.025,
    float_add=0.22,
    integer_multiply=0.8,
    float_multiply=0.9,
    sram_word=1.3,
    dram_word=128.0,
    large_sram_word=12.5,
    byte_add=0.008,
    byte_multiply=0.05,
    half_add=0.1,
    half_multiply=0.28,
)


@dataclass(frozen=True)
class _Core:
    """What tells the cores apart; bandwidth in bytes a nanosecond (GB/s)."""

    name: str
    mcpu: str
    description: str
    features: tuple[str, ...]
    caches: Caches
    clock: float
    bandwidth: float
    cache_bandwidth: float
    model: str
    energy: EnergyTable = _MOBILE_ENERGY
    triple: str = LINUX

    def target(self) -> Target:
        return Target(
            name=self.name,
            description=self.description,
            options={"kind": "llvm", "mtriple": self.triple, "mcpu": self.mcpu},
            features=frozenset(self.features),
            vector_floats=VECTOR_FLOATS,
            cores=4,
            caches=self.caches,
            energy=self.energy,
            memory_bandwidth=self.bandwidth,
            cache_bandwidth=self.cache_bandwidth,
            pipeline=Pipeline(self.clock, self.model),
        )


def cortex_a53_target() -> Target:
    """In order, two instructions a cycle, vector unit of 64 bits (Raspberry Pi 3)."""
    caches = Caches(32 * _KIB, 512 * _KIB, 512 * _KIB)
    about = "ARM Cortex-A53, 1.4 GHz"
    return _Core(
        "arm-cortex-a53", "cortex-a53", about, _BASE, caches, 1.4, 4, 8, "cortex-a53"
    ).target()


def cortex_a72_target() -> Target:
    """Out of order, three instructions a cycle (Raspberry Pi 4)."""
    caches = Caches(32 * _KIB, _MIB, _MIB)
    about = "ARM Cortex-A72, 1.8 GHz"
    return _Core(
        "arm-cortex-a72", "cortex-a72", about, _BASE, caches, 1.8, 5, 12, "cortex-a57"
    ).target()


def cortex_a76_target() -> Target:
    """Out of order, four instructions a cycle, dot products (Raspberry Pi 5)."""
    caches = Caches(64 * _KIB, 512 * _KIB, 2 * _MIB)
    about = "ARM Cortex-A76 with dot products, 2.4 GHz"
    return _Core(
        "arm-cortex-a76",
        "cortex-a76",
        about,
        _DOT_PRODUCTS,
        caches,
        2.4,
        10,
        25,
        "neoverse-n1",
    ).target()


def neoverse_n1_target() -> Target:
    """Have the A76's pipeline with a server's caches and memory."""
    caches = Caches(64 * _KIB, _MIB, 32 * _MIB)
    about = "ARM Neoverse N1 with dot products, 3.0 GHz"
    return _Core(
        "arm-neoverse-n1",
        "neoverse-n1",
        about,
        _DOT_PRODUCTS,
        caches,
        3.0,
        20,
        30,
        "neoverse-n1",
        EnergyTable(),
    ).target()


def android_target() -> Target:
    """Code for any 64-bit phone; scheduled for the small core, which waits most."""
    caches = Caches(32 * _KIB, 256 * _KIB, _MIB)
    about = "any 64-bit Android phone (ARMv8.0, NEON)"
    return _Core(
        "android-arm64",
        "generic",
        about,
        _BASE,
        caches,
        1.8,
        5,
        12,
        "cortex-a55",
        triple=ANDROID,
    ).target()
