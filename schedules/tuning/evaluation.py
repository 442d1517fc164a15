"""Run a candidate's library: check its answer, then time it. Runs in the runner's processes.

The library has the functions ``main``, ``decode`` where a weight is decoded at load, and ``layer``,
which returns the name of the layer; ``<layer>.npz`` in the work folder holds its data and answer.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.s_tir.meta_schedule.runner import EvaluatorConfig

from dcc.errors import CompileError

LAYER = "layer"
STOP = "stop"
"""A file of this name in the work folder: finish, measure nothing more."""
INTERRUPTED = "interrupted"
# Largest error of a correct answer relative to its largest value: rounding of long sums.
TOLERANCES = {"float16": 4e-3, "float32": 2e-5, "float64": 1e-11, "bfloat16": 3e-2}


def write_example(path: Path, data: list[Any], expected: list[Any]) -> None:
    """Store the data of a layer and its answer for :class:`Evaluation`."""
    arrays = {f"data{n}": array for n, array in enumerate(data)}
    arrays |= {f"expected{n}": array for n, array in enumerate(expected)}
    np.savez(path, **arrays)


def no_arguments(*_: Any) -> list[list[Any]]:
    """Stand in for TVM's allocation: the evaluation takes the data from the work folder."""
    return [[]]


@dataclass(frozen=True)
class Evaluation:
    """The evaluator of TVM's local and RPC runners; of libraries that hold their weights."""

    folder: str

    def __call__(self, *arguments: Any) -> list[float]:
        """Check and time; the last arguments are the library, the device, the configuration.

        Raises
        ------
        CompileError
            The answer is wrong.
        """
        library, device, config = arguments[-4:-1]
        try:
            return self.measure(library, device, config)
        finally:
            # The virtual machine is part of a cycle: it would keep the session with the device,
            # and the device would serve nobody else until that times out.
            gc.collect()

    def measure(self, library: Any, device: Any, config: EvaluatorConfig) -> list[float]:
        """Seconds of a run, one for each repeat."""
        refuse_when_stopped(self.folder)
        machine = relax.VirtualMachine(library, device)
        layer = str(machine[LAYER]())
        with np.load(Path(self.folder) / f"{layer}.npz") as arrays:
            data = [arrays[name] for name in sorted(arrays) if name.startswith("data")]
            expected = [arrays[name] for name in sorted(arrays) if name.startswith("expected")]
        weights = self.weights(machine, device)
        inputs = [tvm.runtime.tensor(array, device) for array in data]
        machine.set_input("main", *inputs, *weights)
        machine.invoke_stateful("main")
        check_answer(machine.get_outputs("main"), expected)
        function, arguments, runs = self.timed(machine, inputs, weights, device)
        machine.save_function(function, "measured", *arguments)
        evaluator = machine.time_evaluator(
            "measured",
            device,
            number=config.number,
            repeat=config.repeat,
            min_repeat_ms=config.min_repeat_ms,
        )
        return [float(seconds) / runs for seconds in evaluator().results]

    def weights(self, machine: Any, device: Any) -> list[Any]:
        """Decode what is decoded at load; returns the arguments of ``main`` behind its inputs."""
        if machine.module.implements_function("decode"):
            machine["decode"]()
        return []

    def timed(
        self, machine: Any, inputs: list[Any], weights: list[Any], device: Any
    ) -> tuple[str, list[Any], int]:
        """Return what is timed: a function, its arguments, how often it runs the layer."""
        return "main", [*inputs, *weights], 1


def check_answer(results: Any, expected: list[np.ndarray]) -> None:
    """Compare what a candidate answers with the oracle.

    Raises
    ------
    CompileError
        It is further off than rounding explains.
    """
    tensors = [results] if hasattr(results, "numpy") else list(results)
    for tensor, wanted in zip(tensors, expected, strict=True):
        got = np.asarray(tensor) if isinstance(tensor, np.ndarray) else tensor.numpy()
        scale = max(float(np.abs(wanted).max(initial=0)), 1e-6)
        error = float(np.abs(got.astype(np.float64) - wanted).max(initial=0)) / scale
        tolerance = TOLERANCES.get(got.dtype.name, 2e-5)
        if not error <= tolerance:  # NaN is no answer either
            raise CompileError(
                f"wrong answer: off by {error:.1e} of the largest value, expected at most "
                f"{tolerance:.0e}"
            )


def is_stopped(folder: str) -> bool:
    """Whether the search is stopping."""
    return (Path(folder) / STOP).exists()


def refuse_when_stopped(folder: str) -> None:
    """Leave work that nobody waits for any more.

    Raises
    ------
    CompileError
        The search is stopping.
    """
    if is_stopped(folder):
        raise CompileError(INTERRUPTED)
