"""The nine fully connected layers of EIE beside ONNX Runtime and OpenVINO, batch 1 by default.

    python benchmarks/layers.py [--batch 1] [--threads 2] [--json FILE]

Shapes and densities of Han et al. 2016 (EIE), Table III: AlexNet and VGG-16 fc6 to fc8, NeuralTalk
We, Wd and LSTM. Random positions, a codebook of 16 entries, codes distributed like a Laplacian.
Competitors take turns in blocks of at least 0.3 s; ONNX Runtime's threads do not spin, which would
halve the speed of whoever runs next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from rich.console import Console
from rich.table import Table

LAYERS = {
    "Alex-6": (9216, 4096, 0.09),
    "Alex-7": (4096, 4096, 0.09),
    "Alex-8": (4096, 1000, 0.25),
    "VGG-6": (25088, 4096, 0.04),
    "VGG-7": (4096, 4096, 0.04),
    "VGG-8": (4096, 1000, 0.23),
    "NT-We": (4096, 600, 0.10),
    "NT-Wd": (600, 8791, 0.11),
    "NT-LSTM": (1201, 2400, 0.10),
}
OURS = ("sparse", "huffman", "auto")
BLOCK_SECONDS = 0.3

Run = Callable[[], object]


def layer_model(
    inputs: int, outputs: int, density: float, batch: int, seed: int
) -> onnx.ModelProto:
    """Make one MatMul over a pruned weight of 16 distinct values."""
    generator = np.random.default_rng(seed)
    shape = (inputs, outputs)
    codes = 4 + sum(generator.integers(0, 4, shape, dtype=np.int8) for _ in range(3))
    codes = np.clip(np.where(codes == 8, 9, codes), 1, 15)
    weight = ((codes - 8) * np.float32(0.01)).astype(np.float32)
    weight[generator.random(shape, dtype=np.float32) >= density] = 0
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "layer",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, inputs])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = helper.make_opsetid("", 13)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def contenders(path: Path, x: np.ndarray, threads: int, folder: Path) -> dict[str, Run]:
    """Everything that runs the layer, by name; dense ones first."""
    import onnxruntime
    import openvino
    from onnxruntime.quantization import quantize_dynamic

    import dcc

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    quantized = folder / "int8.onnx"
    quantize_dynamic(path, quantized)
    runs: dict[str, Run] = {}
    for name, file in (("ort fp32", path), ("ort int8", quantized)):
        session = onnxruntime.InferenceSession(str(file), options)
        runs[name] = lambda session=session: session.run(None, {"x": x})  # type: ignore[misc]
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    runs["openvino"] = lambda: request.infer({"x": x})
    for storage in OURS:
        module = dcc.load(dcc.compile(path, folder / f"{storage}.so", storage=storage))
        runs[storage] = lambda module=module: module(x)  # type: ignore[misc]
    return runs


def block(run: Run) -> list[float]:
    """Time single calls, for at least ``BLOCK_SECONDS``."""
    times = []
    end = time.perf_counter() + BLOCK_SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return times


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median seconds of each contender; they alternate."""
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            samples[name] += block(run)
    return {name: statistics.median(times) for name, times in samples.items()}


def geometric_mean(values: list[float]) -> float:
    """Geometric mean of positive values."""
    return float(np.exp(np.mean(np.log(values))))


def print_table(results: dict[str, dict[str, float]]) -> None:
    """Milliseconds, and the faster dense fp32 contender's time over ours."""
    table = Table("layer", *next(iter(results.values())), *(f"dense / {name}" for name in OURS))
    ratios: dict[str, list[float]] = {name: [] for name in OURS}
    for layer, times in results.items():
        dense = min(times["ort fp32"], times["openvino"])
        for name in OURS:
            ratios[name].append(dense / times[name])
        cells = [f"{1e3 * seconds:.3f}" for seconds in times.values()]
        table.add_row(layer, *cells, *(f"{ratios[name][-1]:.2f}" for name in OURS))
    means = [f"{geometric_mean(ratios[name]):.2f}" for name in OURS]
    table.add_row("geometric mean", *[""] * (table.columns.__len__() - 1 - len(OURS)), *means)
    int8 = [times["ort int8"] / times["sparse"] for times in results.values()]
    console = Console(width=160)
    console.print(table)
    console.print(f"int8 time over sparse: geometric mean {geometric_mean(int8):.2f}")


def main() -> None:
    """Measure every layer and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", nargs="*", default=list(LAYERS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = str(options.threads)
    results = {}
    for seed, name in enumerate(LAYERS):
        if name not in options.layers:
            continue
        inputs, outputs, density = LAYERS[name]
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "layer.onnx"
            onnx.save(layer_model(inputs, outputs, density, options.batch, seed), path)
            x = np.random.default_rng(0).standard_normal((options.batch, inputs)).astype(np.float32)
            runs = contenders(path, x, options.threads, Path(place))
            results[name] = measure(runs, options.rounds)
    packages = {name: version(name) for name in ("apache-tvm", "onnxruntime", "openvino")}
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads, {packages}")
    print_table(results)
    if options.json is not None:
        record = {"threads": options.threads, "batch": options.batch, "versions": packages}
        options.json.write_text(json.dumps({**record, "seconds": results}, indent=1))


if __name__ == "__main__":
    main()
