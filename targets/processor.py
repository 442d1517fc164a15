"""What this machine's processor can do, found without the compiler: asked at each load."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from pathlib import Path

from dcc.targets.target import Caches

# Flag of the operating system -> LLVM's name of the same feature. What is missing is not checked.
_LINUX_X86 = {
    "pni": "sse3",
    "ssse3": "ssse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "sse4a": "sse4a",
    "popcnt": "popcnt",
    "abm": "lzcnt",
    "movbe": "movbe",
    "f16c": "f16c",
    "fma": "fma",
    "bmi1": "bmi",
    "bmi2": "bmi2",
    "avx": "avx",
    "avx2": "avx2",
    "avx_vnni": "avxvnni",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512_vbmi2": "avx512vbmi2",
    "avx512_vnni": "avx512vnni",
    "avx512_bitalg": "avx512bitalg",
    "avx512_vpopcntdq": "avx512vpopcntdq",
    "avx512_bf16": "avx512bf16",
    "avx512_fp16": "avx512fp16",
    "avx512_vp2intersect": "avx512vp2intersect",
    "gfni": "gfni",
    "vaes": "vaes",
    "vpclmulqdq": "vpclmulqdq",
    "amx_tile": "amx-tile",
    "amx_int8": "amx-int8",
    "amx_bf16": "amx-bf16",
}
_LINUX_ARM = {
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fullfp16",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
}
CHECKABLE_FEATURES = frozenset(_LINUX_X86.values()) | frozenset(_LINUX_ARM.values())

_ARCHITECTURES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}


def architecture() -> str:
    """Name the machine's architecture as a target triple does: ``x86_64``, ``aarch64``, ..."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)


@functools.cache
def cpu_features() -> frozenset[str] | None:
    """List this machine's features by LLVM's names; None where the system does not tell."""
    flags = _flags_of_linux() or _flags_of_macos()
    if not flags:
        return None
    names = _LINUX_ARM if architecture() == "aarch64" else _LINUX_X86
    return frozenset(llvm for flag, llvm in names.items() if flag in flags)


def _flags_of_linux() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def _flags_of_macos() -> set[str]:
    if platform.system() != "Darwin":
        return set()
    if architecture() == "aarch64":
        return {"asimd", "asimddp", "asimdhp"}  # every Apple processor of this architecture
    keys = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
    try:
        result = subprocess.run(
            ["/usr/sbin/sysctl", "-n", *keys], capture_output=True, text=True, check=False
        )
    except OSError:
        return set()
    flags = (
        result.stdout.lower()
        .replace("avx1.0", "avx")
        .replace("sse3", "pni")
        .replace("spni", "ssse3")
    )
    return set(flags.replace("sse4.1", "sse4_1").replace("sse4.2", "sse4_2").split())


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def caches() -> Caches:
    """Cache sizes of the first core, or typical ones where the system does not tell."""
    sizes: dict[int, int] = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (folder / "type").read_text().strip() == "Instruction":
                continue
            level = int((folder / "level").read_text())
            sizes[level] = _bytes((folder / "size").read_text().strip())
        except (OSError, ValueError):
            continue
    usual = Caches()
    level2 = sizes.get(2, usual.level2)
    return Caches(sizes.get(1, usual.level1), level2, max(sizes.values(), default=usual.last_level))


def _bytes(text: str) -> int:
    units = {"K": 1024, "M": 1024**2, "G": 1024**3}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)
