"""Times kernels that ``cuda_kernels`` made beside cuBLAS and cuSPARSE (by PyTorch), on a card.

Weights rotate through copies that together exceed four times the second cache level, so that none
is in it when its turn comes. Kernels of all contenders are recorded in a graph of launches that
follow each other and timed by events around its replays; the figure is the median of the replays.
Of cuSPARSE the kernels alone count, by the profiler, where that is faster.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cuda_packing import pack_arrays, weight_of
from layer_cases import LAYERS

LEVEL2_SHARE = 4
MOST_ERROR = 1e-5
LEAST_LAUNCHES, REPLAYS = 64, 15
OPPONENTS = ("cublas", "cusparse")
CASES = {case.name: case for case in LAYERS}
Launch = Callable[[], object]


def median_seconds(launches: Sequence[Launch], torch: Any) -> float:
    """Seconds of a launch, of those recorded in a graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for launch in launches[:3]:
            launch()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for launch in launches:
            launch()
    for _ in range(3):
        graph.replay()
    torch.cuda.synchronize()
    found = []
    for _ in range(REPLAYS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end) / 1e3 / len(launches))
    return statistics.median(found)


def profiled_seconds(launches: Sequence[Launch], torch: Any) -> float:
    """Seconds of the kernels of a call, by the profiler."""
    from torch.profiler import ProfilerActivity, profile

    for launch in launches[:3]:
        launch()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for launch in launches:
            launch()
        torch.cuda.synchronize()
    total = sum(each.device_time_total for each in profiler.key_averages())
    return total / 1e6 / len(launches) if total else math.inf


def copies(nbytes: int, level2: int) -> int:
    """How often weights of ``nbytes`` stand in memory."""
    return max(math.ceil(LEVEL2_SHARE * level2 * 1.05 / max(nbytes, 1)), 2)


def rotated(make: Callable[[int], Launch], count: int) -> list[Launch]:
    """Make launches that use all copies in turn."""
    each = [make(number) for number in range(count)]
    return each * max(1, math.ceil(LEAST_LAUNCHES / count))


class Bench:
    """A card and what is measured on it."""

    def __init__(self) -> None:
        import torch

        self.torch = torch
        properties = torch.cuda.get_device_properties(0)
        self.level2 = int(properties.L2_cache_size)
        self.facts = {
            "card": properties.name,
            "level2": self.level2,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        }
        torch.backends.cuda.matmul.allow_tf32 = False

    def cublas(self, dense: np.ndarray, x: np.ndarray) -> float:
        """Time the faster of cuBLAS's ways to multiply."""
        torch = self.torch
        count = copies(dense.nbytes, self.level2)
        first = torch.from_numpy(dense).cuda()
        weights = [first.clone() for _ in range(count)]
        samples = torch.from_numpy(x).cuda()
        y = torch.empty(len(x), len(dense), device="cuda")
        ways: list[Callable[[int], Launch]] = [
            lambda n: lambda: torch.mm(samples, weights[n].T, out=y)
        ]
        if len(x) == 1:
            row, out = samples[0], y[0]
            ways.append(lambda n: lambda: torch.mv(weights[n], row, out=out))
        return min(median_seconds(rotated(way, count), torch) for way in ways)

    def cusparse(self, dense: np.ndarray, x: np.ndarray) -> float:
        """Time the fastest of the calls of cuSPARSE on a CSR matrix."""
        torch = self.torch
        first = torch.from_numpy(dense).to_sparse_csr().cuda()
        parts = [first.crow_indices().int(), first.col_indices().int(), first.values()]
        count = copies(sum(part.numel() * 4 for part in parts), self.level2)
        weights = [
            torch.sparse_csr_tensor(*(part.clone() for part in parts), size=dense.shape)
            for _ in range(count)
        ]
        samples = torch.from_numpy(x).cuda()
        right = samples.T.contiguous()
        product = rotated(lambda n: lambda: torch.mm(weights[n], right), count)
        found = [median_seconds(product, torch), profiled_seconds(product, torch)]
        if len(x) == 1:
            row = samples[0].contiguous()
            vector = rotated(lambda n: lambda: torch.mv(weights[n], row), count)
            found.append(median_seconds(vector, torch))
        return min(found)

    def kernel(
        self, function: Any, arrays: list[np.ndarray], x: np.ndarray, wanted: np.ndarray
    ) -> dict[str, float]:
        """Check one of our kernels, then time it."""
        import tvm_ffi

        torch = self.torch
        nbytes = sum(array.nbytes for array in arrays)
        count = copies(nbytes, self.level2)
        given = [[on_card(array, torch) for array in arrays] for _ in range(count)]
        samples = torch.from_numpy(x).cuda()
        y = torch.full((len(x), wanted.shape[1]), float("nan"), device="cuda")
        ends = [tvm_ffi.from_dlpack(samples), tvm_ffi.from_dlpack(y)]

        def make(number: int) -> Launch:
            arguments = (ends[0], *given[number], ends[1])

            def launch() -> None:
                stream = torch.cuda.current_stream().cuda_stream
                with tvm_ffi.use_raw_stream(tvm_ffi.device("cuda", 0), stream):
                    function(*arguments)

            return launch

        make(0)()
        torch.cuda.synchronize()
        error = float(np.abs(y.cpu().numpy() - wanted).max() / np.abs(wanted).max())
        if not error <= MOST_ERROR:
            raise ValueError(f"a kernel is off by {error:.1e} of the largest result")
        seconds = median_seconds(rotated(make, count), torch)
        return {"seconds": seconds, "error": error, "bytes": nbytes}


def on_card(array: np.ndarray, torch: Any) -> Any:
    """Copy an array to the card; PyTorch copies unsigned integers as signed ones."""
    import tvm_ffi

    name = array.dtype.name
    signed = {"uint16": np.int16, "uint32": np.int32}.get(name)
    tensor = torch.from_numpy(array.view(signed) if signed else array).cuda()
    return tvm_ffi.from_dlpack(tensor.view(getattr(torch, name)))


def load_functions(folder: Path, record: dict[str, Any]) -> Any:
    """Load a library of kernels; TVM's runtime asks for their binary."""
    import tvm_ffi

    from dcc.card_binaries import offer_binary

    for digest, name in record["binaries"].items():
        offer_binary(digest, (folder / name).read_bytes())
    return tvm_ffi.load_module(str(folder / record["library"]))


def time_case(path: Path, bench: Bench) -> dict[str, Any]:
    """Time the opponents and the kernels of a record."""
    from dcc.codegen.packing import Packing

    record = json.loads(path.read_text())
    weight = weight_of(CASES[record["name"]], record["seed"])
    dense = weight.decode().astype(np.float32)
    shape = (record["batch"], dense.shape[1])
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    wanted = x.astype(np.float64) @ dense.T.astype(np.float64)
    result = {"cublas": bench.cublas(dense, x), "cusparse": bench.cusparse(dense, x)}
    bench.torch.cuda.empty_cache()
    functions = load_functions(path.parent, record)
    kernels = {}
    for kernel in record["kernels"]:
        arrays = pack_arrays(weight, kernel["form"], Packing(**kernel["packing"]))
        kernels[kernel["form"]] = bench.kernel(functions[kernel["function"]], arrays, x, wanted)
        bench.torch.cuda.empty_cache()
    return {**record, **result, "kernels": kernels}


def time_all(paths: Sequence[Path], output: Path | None) -> None:
    """Time the records at ``paths``; print a table, and means of the ratios."""
    import torch  # noqa: F401  (brings the CUDA runtime)

    from dcc.tvm_library import load_cuda_library

    load_cuda_library()
    bench = Bench()
    print(bench.facts, flush=True)
    results = []
    for path in paths:
        results.append(time_case(path, bench))
        print_case(results[-1])
        if output is not None:
            output.write_text(json.dumps({"facts": bench.facts, "results": results}))
    for form in results[0]["kernels"] if results else ():
        means = []
        for name in OPPONENTS:
            ratios = [r[name] / r["kernels"][form]["seconds"] for r in results]
            means.append(f"{statistics.geometric_mean(ratios):.2f}x {name}")
        print(f"{form:9} geometric mean  {'  '.join(means)}")


def print_case(result: dict[str, Any]) -> None:
    """Print the times of a case, and what is gained over the opponents."""
    times = "  ".join(f"{name} {1e6 * result[name]:.2f} us" for name in OPPONENTS)
    print(f"{result['name']}, batch {result['batch']}: {times}  auto: {result['auto']}")
    for form, found in result["kernels"].items():
        ratios = "  ".join(f"{result[name] / found['seconds']:.2f}x {name}" for name in OPPONENTS)
        print(
            f"   {form:9} {1e6 * found['seconds']:8.2f} us  {found['bytes'] / 1e6:7.2f} MB  "
            f"error {found['error']:.1e}  {ratios}",
            flush=True,
        )
