"""The machine that numbers are measured on, for the reports that show them."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def available_processors() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_cores() -> int:
    """Cores that this process may run on: hyperthreads of the same core count once."""
    if not hasattr(os, "sched_getaffinity"):
        return available_processors()
    return len({_core_of(processor) for processor in os.sched_getaffinity(0)})


def _core_of(processor: int) -> str:
    """Return the list of the processors that share a core with this one."""
    topology = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    try:
        return topology.read_text().strip()
    except OSError:
        return str(processor)


def machine_facts() -> dict[str, Any]:
    """Where numbers come from: processor and versions."""
    from importlib.metadata import PackageNotFoundError, version

    def version_of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    packages = ("deep-compression-compiler", "apache-tvm", "onnxruntime", "numpy")
    return {
        "processor": _processor_name(),
        "processors": available_processors(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {package: version_of(package) for package in packages},
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
