"""A process that holds one contender and times it in blocks, when it is told to.

    python benchmarks/contender_process.py KIND PATH INPUTS.npz THREADS OUTPUTS.npz

Saves the outputs, prints a line of JSON when it is ready, then one for each number of seconds on
its standard input. In between it waits on the pipe and takes no processor time. Where the contender
lets its threads be placed, each has a processor of its own: after a wait, the system may wake two
on the same one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

Run = Callable[[], Sequence[np.ndarray]]
WARM_UP_RUNS = 3


def onnxruntime_call(path: str, inputs: Mapping[str, np.ndarray], threads: int) -> Run:
    """Call ONNX Runtime as its users do; its threads may spin, as they do by default."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    processors = sorted(os.sched_getaffinity(0))[1:threads]
    if (
        processors
    ):  # of the threads that it makes, counted from 1; the calling one is not among them
        places = ";".join(str(processor + 1) for processor in processors)
        options.add_session_config_entry("session.intra_op_thread_affinities", places)
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def openvino_call(path: str, inputs: Mapping[str, np.ndarray], threads: int) -> Run:
    """OpenVINO in float32, for the latency of single calls, without copies of inputs."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    model = core.read_model(path)
    # ONNX's shapes may be dynamic; fixed ones are what the others compute as well.
    model.reshape({name: array.shape for name, array in inputs.items()})
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer(inputs, share_inputs=True).to_tuple()


def dcc_call(path: str, inputs: Mapping[str, np.ndarray], _threads: int) -> Run:
    """Call a module of ours; TVM, told the number by the environment, places its threads itself."""
    from dcc.runtime import load

    module = load(path)
    return lambda: module(inputs)


CALLS = {
    "dcc": dcc_call,
    "onnxruntime": onnxruntime_call,
    "openvino": openvino_call,
}


def block(run: Run, seconds: float) -> list[float]:
    """Seconds of single calls, one after the other for at least ``seconds``."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return samples


def main() -> None:
    kind, path, inputs_path, threads, outputs_path = sys.argv[1:]
    if not Path(path).is_file():
        sys.exit(f"there is no file '{path}'")
    inputs = dict(np.load(inputs_path))
    run = CALLS[kind](path, inputs, int(threads))
    for _ in range(WARM_UP_RUNS):
        outputs = run()
    np.savez(outputs_path, *outputs)
    if kind != "openvino":  # whose calling thread only waits
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(block(run, float(line))), flush=True)


if __name__ == "__main__":
    main()
