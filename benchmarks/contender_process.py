"""A contender of a benchmark in a process of its own, idle except while it is asked to run.

    python benchmarks/contender_process.py KIND FILE INPUTS.npz THREADS SPINNING OUTPUTS.npz

It answers ``ready`` once the model has run and its outputs are saved; each line on its standard
input, a number of seconds, is answered by the latencies of a block of calls, as JSON. So that
ONNX Runtime's threads may spin, as they do by default, without taking a neighbour's time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np

from dcc.contenders import Run, prepare

Kind = Literal["dcc", "onnxruntime", "openvino"]
WARM_UP_RUNS = 5


class Contender:
    """Starts such a process and asks it for blocks."""

    def __init__(
        self, kind: Kind, model: Path, inputs: Path, folder: Path, threads: int, spinning: bool
    ) -> None:
        self.outputs = folder / f"{kind}-outputs.npz"
        environment = os.environ | {
            "TVM_NUM_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
        }
        arguments = (kind, model, inputs, threads, int(spinning), self.outputs)
        self._process = subprocess.Popen(
            [sys.executable, __file__, *map(str, arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._answer() != "ready":
            raise RuntimeError(f"{kind} does not run {model}")

    def block(self, seconds: float) -> list[float]:
        """Latencies in seconds of the calls that fit into ``seconds``."""
        assert self._process.stdin is not None
        print(seconds, file=self._process.stdin, flush=True)
        return list(json.loads(self._answer()))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def _run(kind: Kind, path: str, inputs: dict[str, np.ndarray], threads: int, spin: bool) -> Run:
    if kind == "openvino":
        return _openvino(path, inputs, threads)
    if kind == "onnxruntime" and spin:
        return _spinning(path, inputs, threads)
    return prepare(kind, path, inputs, threads)


def _spinning(path: str, inputs: dict[str, np.ndarray], threads: int) -> Run:
    """ONNX Runtime as its users have it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return lambda: list(session.run(None, inputs))


def _openvino(path: str, inputs: dict[str, np.ndarray], threads: int) -> Run:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    core = openvino.Core()
    model = core.read_model(path)
    # ONNX's shapes may be dynamic; a fixed one is what the others compute as well.
    model.reshape({name: array.shape for name, array in inputs.items()})
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: [array.copy() for array in request.infer(inputs).values()]


def main() -> None:
    """Serve blocks until the standard input ends."""
    kind, path, inputs_path, threads, spinning, outputs = sys.argv[1:]
    with np.load(inputs_path) as file:
        inputs = {name: file[name] for name in file.files}
    run = _run(kind, path, inputs, int(threads), spinning == "1")  # type: ignore[arg-type]
    for _ in range(WARM_UP_RUNS):
        results = run()
    np.savez(outputs, *results)
    print("ready", flush=True)
    for line in sys.stdin:
        samples = []
        end = time.perf_counter() + float(line)
        while not samples or time.perf_counter() < end:
            begin = time.perf_counter()
            run()
            samples.append(time.perf_counter() - begin)
        print(json.dumps(samples), flush=True)


if __name__ == "__main__":
    main()
