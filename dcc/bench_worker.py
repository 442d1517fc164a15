"""The measuring process of ``dcc bench``, which nothing else shares threads or memory with.

``python -m dcc.bench_worker REQUEST.json`` prints one line of JSON. The environment sets TVM's
threads, which cannot be changed once its runtime is loaded.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dcc.contenders import Run, prepare
from dcc.datasets import read_arrays
from dcc.errors import DccError

_WARM_UP_RUNS = 3


def main() -> None:
    """Do what the request says and print the answer."""
    request = json.loads(Path(sys.argv[1]).read_text())
    inputs = read_arrays(request["inputs"])
    answer: dict[str, Any]
    try:
        answer = {"latency": _latency, "memory": _memory, "layers": _layers}[request["measure"]](
            request, inputs
        )
    except DccError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


def _latency(request: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Time all contenders in turn: blocks of each, the order turned round by round."""
    runs: dict[str, Run] = {}
    outputs: dict[str, list[np.ndarray]] = {}
    for contender in request["contenders"]:
        name = contender["name"]
        runs[name] = prepare(contender["kind"], contender["path"], inputs, request["threads"])
        for _ in range(_WARM_UP_RUNS):
            outputs[name] = runs[name]()
    samples: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(request["rounds"]):
        for position in range(len(names)):
            name = names[(turn + position) % len(names)]
            samples[name] += _block(runs[name], request["block_seconds"])
    return {
        name: {**_summary(samples[name]), "error": _difference(outputs, name)} for name in names
    }


def _block(run: Run, seconds: float) -> list[float]:
    """Latencies in seconds of the calls that fit into ``seconds``, at least one."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return samples


def _summary(samples: list[float]) -> dict[str, Any]:
    tenths = statistics.quantiles(samples, n=10) if len(samples) > 1 else samples * 9
    return {
        "median_seconds": statistics.median(samples),
        "p10_seconds": tenths[0],
        "p90_seconds": tenths[8],
        "calls": len(samples),
    }


def _difference(outputs: Mapping[str, list[np.ndarray]], name: str) -> float | None:
    """Largest error over largest magnitude against ONNX Runtime, where both ran."""
    reference = outputs.get("onnxruntime")
    if reference is None or name == "onnxruntime":
        return None
    worst = 0.0
    for ours, theirs in zip(outputs[name], reference, strict=True):
        expected = theirs.astype(np.float64)
        largest = float(np.abs(expected).max(initial=0.0)) or 1.0
        error = float(np.abs(ours.reshape(theirs.shape) - expected).max(initial=0.0))
        worst = max(worst, error / largest)
    return worst


def _memory(request: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Peak resident bytes of this process after loading and running one contender."""
    contender = request["contenders"][0]
    prepare(contender["kind"], contender["path"], inputs, request["threads"])()
    return {"peak_bytes": _peak_bytes()}


def _layers(request: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    from dcc.runtime import load

    module = load(request["contenders"][0]["path"])
    times = module.profile(inputs, repeats=request["rounds"] * 10)
    return {"calls": [{"name": call.name, "seconds": call.seconds} for call in times]}


def _peak_bytes() -> int:
    """Peak resident size; ``ru_maxrss`` alone would count what the parent had before ``exec``."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
