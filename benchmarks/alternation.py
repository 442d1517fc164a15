"""Times contenders in turn, each in a process of its own, while all others are idle.

On two cores the spinning threads of one contender halve the speed of another. So each gets blocks
of at least 0.3 s, with a pause after each in which its threads go to sleep. What else runs on the
host of a virtual machine (a neighbour on the other hyperthread, say) slows whole blocks, by up to
half: so the figure to compare is the median of the best block, for all contenders alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BLOCK_SECONDS = 0.3
PAUSE_SECONDS = 0.05
"""Threads of ONNX Runtime and TVM spin for some milliseconds before they sleep."""


@dataclass(frozen=True)
class Contender:
    """A file and who runs it: ``dcc``, ``onnxruntime`` or ``openvino``."""

    kind: str
    path: Path


@dataclass(frozen=True)
class Latency:
    """Seconds of a call.

    Attributes
    ----------
    best
        Median of the block whose median is the least.
    median, p10, p90
        Median, tenth and ninetieth percentile of the calls of all blocks.
    """

    best: float
    median: float
    p10: float
    p90: float
    calls: int


class Process:
    """A running ``contender_process.py``.

    Parameters
    ----------
    inputs, outputs
        NumPy archives of the arrays by name, and of the outputs in order, which it writes.
    """

    def __init__(self, contender: Contender, inputs: Path, threads: int, outputs: Path) -> None:
        script = Path(__file__).with_name("contender_process.py")
        limits = dict.fromkeys(("TVM_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
        self._contender = contender
        self._process = subprocess.Popen(
            [sys.executable, script, contender.kind, contender.path, inputs, str(threads), outputs],
            env=os.environ | limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        """Wait until the model is loaded and has run.

        Raises
        ------
        RuntimeError
            The process ended; it has told why on the standard error.
        """
        self._answer()
        time.sleep(PAUSE_SECONDS)

    def block(self, seconds: float = BLOCK_SECONDS) -> list[float]:
        """Seconds of single calls for at least ``seconds``."""
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        samples: list[float] = self._answer()
        time.sleep(PAUSE_SECONDS)
        return samples

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"{self._contender.kind} on '{self._contender.path}' ended with exit code "
                f"{self._process.wait()}; its message is above"
            )
        return json.loads(line)


@contextlib.contextmanager
def running(
    contenders: Mapping[str, Contender], inputs: Mapping[str, np.ndarray], threads: int
) -> Iterator[dict[str, Process]]:
    """Start a process for each contender; all are idle afterwards."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dcc-bench-")))
        path = folder / "inputs.npz"
        np.savez(path, **inputs)  # type: ignore[arg-type]
        processes = {}
        for name, contender in contenders.items():
            outputs = folder / f"outputs-{len(processes)}.npz"
            processes[name] = Process(contender, path, threads, outputs)
            stack.callback(processes[name].close)
        for process in processes.values():
            process.wait_until_ready()
        yield processes


def alternate(
    contenders: Mapping[str, Contender],
    inputs: Mapping[str, np.ndarray],
    threads: int,
    rounds: int = 5,
) -> dict[str, Latency]:
    """Time all contenders in ``rounds`` rounds; each round starts with another one."""
    with running(contenders, inputs, threads) as processes:
        return take_turns(processes, rounds)


def take_turns(processes: Mapping[str, Process], rounds: int) -> dict[str, Latency]:
    """Time processes that are ready in ``rounds`` rounds."""
    blocks: dict[str, list[list[float]]] = {name: [] for name in processes}
    for name in turns(list(processes), rounds):
        blocks[name].append(processes[name].block())
    return {name: latency(timed) for name, timed in blocks.items()}


def alone(
    contenders: Mapping[str, Contender],
    inputs: Mapping[str, np.ndarray],
    threads: int,
    rounds: int = 5,
) -> dict[str, Latency]:
    """Time each contender while no other one is loaded."""
    found = {}
    for name, contender in contenders.items():
        found |= alternate({name: contender}, inputs, threads, rounds)
    return found


def turns(names: Sequence[str], rounds: int) -> Iterator[str]:
    """Give the names round by round, each round beginning with the next one.

    >>> "".join(turns("abc", 2))
    'abcbca'
    """
    for turn in range(rounds):
        for position in range(len(names)):
            yield names[(turn + position) % len(names)]


def latency(blocks: Sequence[Sequence[float]]) -> Latency:
    """Sum up the seconds of single calls, block by block."""
    samples = [sample for block in blocks for sample in block]
    tenths = statistics.quantiles(samples, n=10) if len(samples) > 1 else samples * 9
    best = min(statistics.median(block) for block in blocks)
    return Latency(best, statistics.median(samples), tenths[0], tenths[8], len(samples))
