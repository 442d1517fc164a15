"""A module for another architecture, run by the runner for devices under QEMU's user mode.

Slow (some 0.3 GFLOP/s) and exact: the instructions are those of the device. Every call is a process
of its own, whose start takes some tenths of a second; ``each`` sends many inputs to one.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.module_file import read_module
from dcc.device_runtime import cached_runner
from dcc.errors import ModuleError
from dcc.input_arrays import InputArrays
from dcc.running import check_place
from dcc.targets.emulation import emulator_for
from dcc.tensor_spec import TensorSpec

_THREADS = "TVM_NUM_THREADS"
_MOST_SECONDS = 1800
_MOST_RUNS, _MOST_BYTES, _LONG_ENOUGH = 500, 64 << 20, 60
"""Runs, bytes of inputs and about how many seconds of work one process gets: its start is nothing
beside them."""


class EmulatedModule:
    """Called like :class:`dcc.Module`; makes the runner at the first call."""

    def __init__(self, path: str | Path) -> None:
        file = read_module(path)
        check_place(file.metadata, path, "--emulate")
        self.metadata = file.metadata
        self.inputs = [TensorSpec.from_json(spec) for spec in self.metadata["inputs"]]
        self.outputs = [TensorSpec.from_json(spec) for spec in self.metadata["outputs"]]
        self._path = Path(path).resolve()
        self._triple = str(self.metadata["target"].get("mtriple", ""))
        self._arrays = InputArrays(self.inputs)

    def __call__(
        self, *inputs: npt.ArrayLike | Mapping[str, npt.ArrayLike]
    ) -> list[npt.NDArray[Any]]:
        """Run the model once.

        Raises
        ------
        InputError
            Wrong number, names, shapes or dtypes of inputs.
        TargetError
            The emulator, the compiler of the runner or TVM's runtime is missing.
        ModuleError
            The program failed; the message has what it said.
        """
        self._arrays.fill(inputs)
        return self._answers([self._arrays.arrays])[0]

    def each(
        self, inputs: Iterable[Mapping[str, npt.ArrayLike]]
    ) -> Iterator[list[npt.NDArray[Any]]]:
        """Run the model on each of ``inputs``, hundreds in one process; errors as of a call.

        The first runs alone: it shows how many a process can take.
        """
        waiting: list[list[npt.NDArray[Any]]] = []
        most = 1
        for given in inputs:
            self._arrays.fill((given,))
            waiting.append([array.copy() for array in self._arrays.arrays])
            if len(waiting) >= most:
                begin = time.perf_counter()
                answers = self._answers(waiting)
                each = (time.perf_counter() - begin) / len(waiting)
                yield from answers
                size = sum(array.nbytes for array in waiting[0])
                limits = (_MOST_RUNS, _MOST_BYTES // max(size, 1), int(_LONG_ENOUGH / each))
                most, waiting = max(1, min(limits)), []
        if waiting:
            yield from self._answers(waiting)

    def _answers(self, runs: Sequence[Sequence[npt.NDArray[Any]]]) -> list[list[npt.NDArray[Any]]]:
        """Run one process on the inputs of all runs."""
        command = [*emulator_for(self._triple), str(cached_runner(self._triple)), str(self._path)]
        with tempfile.TemporaryDirectory(prefix="dcc-") as folder:
            command += ["-o", folder]
            for number in range(len(self.inputs)):
                path = Path(folder) / f"input_{number}.npy"
                with path.open("wb") as file:
                    for run in runs:
                        np.save(file, run[number])
                command.append(str(path))
            result = self._run(command)
            if result.returncode:
                said = (result.stderr or result.stdout).strip().splitlines()[-3:]
                raise ModuleError(
                    f"'{self._path}' failed under {Path(command[0]).name} "
                    f"({'; '.join(said) or f'exit code {result.returncode}'}): compile it again"
                )
            # A model without inputs has run once.
            count = len(runs) if self.inputs else 1
            columns = [
                _loaded(Path(folder) / f"output_{number}.npy", spec, count)
                for number, spec in enumerate(self.outputs)
            ]
        answers = [list(row) for row in zip(*columns, strict=True)]
        return answers if self.inputs else answers * len(runs)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run the emulator on one thread: several that wait for each other hang at times."""
        environment = {_THREADS: "1", **os.environ}
        try:
            return subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                env=environment,
                timeout=_MOST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise ModuleError(
                f"'{self._path}' did not end within {_MOST_SECONDS} s under "
                f"{Path(command[0]).name}: run it on a device (--rpc HOST:PORT)"
            ) from None


def _loaded(path: Path, spec: TensorSpec, count: int) -> list[npt.NDArray[Any]]:
    with path.open("rb") as file:
        return [_as_spec(np.load(file), spec) for _ in range(count)]


def _as_spec(array: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    """TVM keeps booleans in bytes."""
    return array.view(np.bool_) if spec.dtype == "bool" and array.dtype != np.bool_ else array
