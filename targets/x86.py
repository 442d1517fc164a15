"""Generic x86 targets by the levels of the x86-64 psABI: modules for more than one machine."""

from __future__ import annotations

from dcc.targets.processor import core_count
from dcc.targets.target import Target

_LEVEL2 = ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")
_LEVEL3 = (*_LEVEL2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_LEVEL4 = (*_LEVEL3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


def level3_target() -> Target:
    """AVX2 with fused multiply-add: 8 floats a vector."""
    return _target("x86-64-v3", "x86 with AVX2 and FMA (2013 and later)", _LEVEL3, 8)


def level4_target() -> Target:
    """AVX-512: 16 floats a vector; LLVM's preference for 256-bit ones is taken back."""
    return _target("x86-64-v4", "x86 with AVX-512 (F, BW, CD, DQ, VL)", _LEVEL4, 16)


def _target(name: str, description: str, features: tuple[str, ...], width: int) -> Target:
    options: dict[str, object] = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": name}
    if width == 16:
        options["mattr"] = ["-prefer-256-bit"]
    return Target(name, description, options, frozenset(features), width, core_count())
