"""Starts the measuring processes of a benchmark and reads their answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcc.contenders import Kind
from dcc.errors import DccError
from dcc.progress import track

LABELS: dict[Kind, str] = {"dcc": "dcc", "onnxruntime": "ONNX Runtime", "tvm": "TVM, dense"}


@dataclass(frozen=True)
class ContenderResult:
    """What one contender took.

    Attributes
    ----------
    error
        Largest error over largest magnitude against ONNX Runtime, if that ran too.
    file_bytes
        Size of what it loads: the module or the ONNX file.
    peak_bytes
        Peak resident size of a fresh Python process that loads and runs it once.
    failure
        Why there are no numbers, if there are none.
    """

    kind: Kind
    label: str
    median_seconds: float | None = None
    p10_seconds: float | None = None
    p90_seconds: float | None = None
    calls: int = 0
    error: float | None = None
    file_bytes: int | None = None
    peak_bytes: int | None = None
    failure: str | None = None


@dataclass(frozen=True)
class KernelResult:
    """Time of all calls of one kernel in one run of the module."""

    name: str
    calls: int
    seconds: float


@dataclass(frozen=True)
class Worker:
    """Asks fresh processes (:mod:`dcc.bench_worker`) for numbers."""

    folder: Path
    inputs: Path
    threads: int
    rounds: int
    block_seconds: float

    def measure(self, paths: Mapping[Kind, Path]) -> list[ContenderResult]:
        """Latency of all in one process, then the peak memory of each in its own."""
        latencies = self.latencies({kind: (kind, path) for kind, path in paths.items()})
        results = []
        for kind in track("measuring memory", list(paths)):
            memory = self._ask("memory", {kind: (kind, paths[kind])})
            results.append(
                ContenderResult(
                    kind,
                    LABELS[kind],
                    file_bytes=paths[kind].stat().st_size,
                    peak_bytes=memory["peak_bytes"],
                    **latencies[kind],
                )
            )
        return results

    def latencies(self, contenders: Mapping[str, tuple[Kind, Path]]) -> dict[str, dict[str, Any]]:
        """Latency of each contender, by name, all in one process.

        Parameters
        ----------
        contenders
            Name -> what it is, and the file that it loads; several may be modules of ours.
        """
        return self._ask("latency", contenders)

    def kernels(self, module: Path) -> list[KernelResult]:
        """Time by kernel, in the order of their first calls."""
        calls: dict[str, list[float]] = {}
        for call in self._ask("layers", {"dcc": ("dcc", module)})["calls"]:
            calls.setdefault(call["name"], []).append(call["seconds"])
        return [KernelResult(name, len(times), sum(times)) for name, times in calls.items()]

    def _ask(self, measure: str, contenders: Mapping[str, tuple[Kind, Path]]) -> dict[str, Any]:
        request = {
            "measure": measure,
            "inputs": str(self.inputs),
            "threads": self.threads,
            "rounds": self.rounds,
            "block_seconds": self.block_seconds,
            "contenders": [
                {"name": name, "kind": kind, "path": str(path.resolve())}
                for name, (kind, path) in contenders.items()
            ],
        }
        path = self.folder / "request.json"
        path.write_text(json.dumps(request))
        threads = str(self.threads)
        environment = os.environ | {"TVM_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-m", "dcc.bench_worker", str(path)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DccError(
                f"measuring {measure} of {', '.join(contenders)} failed with exit code "
                f"{done.returncode}: {done.stderr.strip()[-500:] or 'no message'}"
            )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if "error" in answer:
            raise DccError(answer["error"])
        return answer
