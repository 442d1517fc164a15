"""Times the kernels that ``cuda_variants.py`` made, beside cuBLAS and cuSPARSE, on a card.

    python benchmarks/cuda_timing.py FOLDER [--json FILE] [--limit SECONDS]

Weights rotate through copies that together exceed four times the second cache level, so that none
is in it when its turn comes. Kernels of all contenders are recorded in a graph of launches that
follow each other and timed by events around its replays; the figure is the median of the replays.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cuda_packing import pack_arrays, weight_of
from layer_cases import LAYERS

LEVEL2_SHARE = 4
LEAST_LAUNCHES, REPLAYS = 64, 15
CASES = {case.name: case for case in LAYERS}


def pack_one(job: tuple[str, int, dict[str, Any], str]) -> str:
    """Pack a variant into a file, in a process of its own."""
    from dcc.codegen.packing import Packing

    name, seed, kernel, path = job
    arrays = pack_arrays(weight_of(CASES[name], seed), kernel["form"], Packing(**kernel["packing"]))
    np.savez(path, *arrays)
    return path


def median_seconds(launches: list[Callable[[], object]], torch: Any) -> tuple[float, str]:
    """Seconds of a launch, and how they were measured."""
    stream = torch.cuda.Stream()
    try:
        with torch.cuda.stream(stream):
            for launch in launches[:3]:
                launch()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for launch in launches:
                launch()
        run, kind = graph.replay, "graph"
    except Exception as error:
        print("   no graph:", type(error).__name__, str(error).splitlines()[0][:150], flush=True)
        torch.cuda.synchronize()

        def run() -> None:
            for launch in launches:
                launch()

        kind = "events"
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    found = []
    for _ in range(REPLAYS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end) / 1e3 / len(launches))
    return statistics.median(found), kind


def copies(nbytes: int, level2: int) -> int:
    """How often weights of ``nbytes`` stand in memory."""
    return max(math.ceil(LEVEL2_SHARE * level2 * 1.05 / max(nbytes, 1)), 2)


def rotated(make: Callable[[int], Callable[[], object]], count: int) -> list[Callable[[], object]]:
    """Launches that use all copies in turn."""
    each = [make(number) for number in range(count)]
    return each * max(1, math.ceil(LEAST_LAUNCHES / count))


class Bench:
    """A card and what is measured on it."""

    def __init__(self, folder: Path) -> None:
        import torch

        self.torch = torch
        self.folder = folder
        properties = torch.cuda.get_device_properties(0)
        self.level2 = int(properties.L2_cache_size)
        self.facts = {
            "card": properties.name,
            "level2": self.level2,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        }
        torch.backends.cuda.matmul.allow_tf32 = False

    def cublas(self, dense: np.ndarray, x: np.ndarray) -> dict[str, Any]:
        """The faster of cuBLAS's ways to multiply."""
        torch = self.torch
        count = copies(dense.nbytes, self.level2)
        first = torch.from_numpy(dense).cuda()
        weights = [first.clone() for _ in range(count)]
        samples = torch.from_numpy(x).cuda()
        y = torch.empty(len(x), len(dense), device="cuda")
        ways: dict[str, Any] = {}
        if len(x) == 1:
            row, out = samples[0], y[0]
            ways["mv"] = lambda n: lambda: torch.mv(weights[n], row, out=out)
        ways["mm"] = lambda n: lambda: torch.mm(samples, weights[n].T, out=y)
        found = {name: median_seconds(rotated(way, count), torch) for name, way in ways.items()}
        best = min(found, key=lambda name: found[name][0])
        return {"seconds": found[best][0], "way": best, "kind": found[best][1], "copies": count}

    def cusparse(self, dense: np.ndarray, x: np.ndarray) -> dict[str, Any]:
        """The faster of PyTorch's and CuPy's calls of cuSPARSE on a CSR matrix."""
        torch = self.torch
        first = torch.from_numpy(dense).to_sparse_csr().cuda()
        parts = [first.crow_indices().int(), first.col_indices().int(), first.values()]
        nbytes = sum(part.numel() * 4 for part in parts)
        count = copies(nbytes, self.level2)
        weights = [
            torch.sparse_csr_tensor(*(part.clone() for part in parts), size=dense.shape)
            for _ in range(count)
        ]
        samples = torch.from_numpy(x).cuda()
        right = samples.T.contiguous()
        row = samples[0].contiguous()
        found: dict[str, Any] = {}
        ways: dict[str, Any] = {"torch": lambda n: lambda: torch.mm(weights[n], right)}
        if len(x) == 1:
            ways["torch mv"] = lambda n: lambda: torch.mv(weights[n], row)
        for name, way in ways.items():
            try:
                found[name] = median_seconds(rotated(way, count), torch)
            except Exception as error:
                print("   cusparse", name, type(error).__name__, str(error)[:200], flush=True)
        try:
            found["profiled"] = (self.profiled(rotated(ways["torch"], count)), "profiler")
        except Exception as error:
            print("   profiler", type(error).__name__, str(error)[:200], flush=True)
        best = min(found, key=lambda name: found[name][0])
        every = {name: value[0] for name, value in found.items()}
        return {"seconds": found[best][0], "way": best, "kind": found[best][1], "copies": count,
                "all": every}  # fmt: skip

    def profiled(self, launches: list[Callable[[], object]]) -> float:
        """Seconds of kernels alone in a call, by the profiler."""
        torch = self.torch
        from torch.profiler import ProfilerActivity, profile

        for launch in launches[:3]:
            launch()
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            for launch in launches:
                launch()
            torch.cuda.synchronize()
        total = sum(each.device_time_total for each in profiler.key_averages())
        if not total:
            raise RuntimeError("the profiler saw no kernels")
        return total / 1e6 / len(launches)

    def kernel(
        self, function: Any, arrays: list[np.ndarray], x: np.ndarray, wanted: np.ndarray
    ) -> dict[str, Any]:
        """One of our kernels: its error, then its time."""
        import tvm_ffi

        torch = self.torch
        nbytes = sum(array.nbytes for array in arrays)
        count = copies(nbytes, self.level2)
        held = []
        for _ in range(count):
            copy = []
            for array in arrays:
                kind = {"uint16": np.int16, "uint32": np.int32}.get(array.dtype.name)
                tensor = torch.from_numpy(array.view(kind) if kind else array)
                copy.append((tensor.cuda(), array.dtype.name))
            held.append(copy)
        given = [[as_type(tensor, name, torch) for tensor, name in copy] for copy in held]
        samples = torch.from_numpy(x).cuda()
        y = torch.full((len(x), wanted.shape[1]), float("nan"), device="cuda")
        ends = [tvm_ffi.from_dlpack(samples), tvm_ffi.from_dlpack(y)]

        def make(number: int) -> Callable[[], object]:
            arguments = (ends[0], *given[number], ends[1])

            def launch() -> None:
                with tvm_ffi.use_raw_stream(
                    tvm_ffi.device("cuda", 0), torch.cuda.current_stream().cuda_stream
                ):
                    function(*arguments)

            return launch

        make(0)()
        torch.cuda.synchronize()
        error = float(np.abs(y.cpu().numpy() - wanted).max() / np.abs(wanted).max())
        seconds, kind = median_seconds(rotated(make, count), torch)
        return {"seconds": seconds, "error": error, "kind": kind, "copies": count, "bytes": nbytes}


def as_type(tensor: Any, name: str, torch: Any) -> Any:
    """Give TVM the tensor with the unsigned type that it had."""
    import tvm_ffi

    return tvm_ffi.from_dlpack(tensor.view(getattr(torch, name)))


def load_functions(folder: Path, record: dict[str, Any]) -> Any:
    """Load a library of kernels; TVM's runtime asks for their binary."""
    import tvm_ffi

    def find(source: str) -> bytes:
        name = record["binaries"][sha256(source.encode()).hexdigest()]
        return (folder / name).read_bytes()

    tvm_ffi.register_global_func("tvm_callback_cuda_compile", find, override=True)
    return tvm_ffi.load_module(str(folder / record["library"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--limit", type=float, default=1e9, help="stop after so many seconds")
    options = parser.parse_args()
    started = time.time()
    records = [json.loads(path.read_text()) for path in sorted(options.folder.glob("*.json"))]
    records.sort(key=lambda record: (record["batch"], list(CASES).index(record["name"])))
    jobs = [
        (r["name"], r["seed"], k, f"/tmp/packed-{r['name']}-{r['batch']}-{k['function']}.npz")
        for r in records
        for k in r["kernels"]
    ]
    pool = multiprocessing.get_context("fork").Pool()
    packed = pool.imap(pack_one, jobs)
    import torch  # noqa: F401  (brings the CUDA runtime)

    from dcc.tvm_library import load_cuda_library

    load_cuda_library()
    bench = Bench(options.folder)
    print(bench.facts, flush=True)
    results = []
    for record in records:
        case, batch = CASES[record["name"]], record["batch"]
        dense = weight_of(case, record["seed"]).decode().astype(np.float32)
        x = np.random.default_rng(1).standard_normal((batch, dense.shape[1])).astype(np.float32)
        wanted = x.astype(np.float64) @ dense.T.astype(np.float64)
        result = {"name": case.name, "batch": batch, "kernels": []}
        for name, opponent in (("cublas", bench.cublas), ("cusparse", bench.cusparse)):
            try:
                result[name] = opponent(dense, x)
                print(case.name, batch, name, result[name], flush=True)
            except Exception as error:
                print(case.name, name, type(error).__name__, str(error)[:300], flush=True)
            bench.torch.cuda.empty_cache()
        functions = None
        for kernel in record["kernels"]:
            path = next(packed)
            if time.time() - started > options.limit:
                print("time is up", flush=True)
                break
            try:
                functions = functions or load_functions(options.folder, record)
                with np.load(path) as file:
                    arrays = [file[name] for name in file.files]
                found = bench.kernel(functions[kernel["function"]], arrays, x, wanted)
                result["kernels"].append({**kernel, **found})
                print_kernel(kernel, found, result)
            except Exception as error:
                print("  ", kernel, type(error).__name__, str(error)[:600], flush=True)
            bench.torch.cuda.empty_cache()
        results.append(result)
        if options.json is not None:
            options.json.write_text(json.dumps({"facts": bench.facts, "results": results}))
    pool.terminate()
    print(f"{time.time() - started:.0f} s", flush=True)


def print_kernel(kernel: dict[str, Any], found: dict[str, Any], result: dict[str, Any]) -> None:
    """One line for a kernel."""
    packing = kernel["packing"]
    ratios = " ".join(
        f"{name} {result[name]['seconds'] / found['seconds']:5.2f}x"
        for name in ("cublas", "cusparse")
        if name in result
    )
    print(
        f"   {kernel['form']:9} {packing['block_rows']:3}x{packing['segments']:<3} "
        f"p{packing['phases']} gap {kernel.get('gap_bits')} len {packing['code_length']} "
        f"w{packing['load_words']} s{int(packing['sort'])} {found['bytes'] / 1e6:7.2f} MB "
        f"{found['seconds'] * 1e6:8.2f} us {found['kind']} error {found['error']:.1e} {ratios}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
