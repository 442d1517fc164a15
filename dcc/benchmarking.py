"""Measures a module beside its opponents: latency, bytes, peak memory, time by kernel.

All contenders run in one fresh process, one after the other in blocks whose order turns from round
to round, so that a machine that slows down slows all of them. ONNX Runtime's threads do not spin
while the others run. Memory is the peak of a fresh process for each. A latency includes handing the
inputs over and taking the outputs as numpy arrays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dcc.contenders import Kind
from dcc.differences import json_number
from dcc.errors import CompileError, InputError
from dcc.machine import available_processors, machine_facts
from dcc.measuring import LABELS, ContenderResult, KernelResult, Worker
from dcc.progress import report
from dcc.random_inputs import Range, random_inputs
from dcc.tensor_spec import TensorSpec

OPPONENTS: tuple[Kind, ...] = ("onnxruntime", "tvm")


@dataclass(frozen=True)
class Benchmark:
    """All results, ours first, and the machine they were measured on."""

    contenders: list[ContenderResult]
    kernels: list[KernelResult]
    threads: int
    seed: int
    machine: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        values = asdict(self)
        for row in values["contenders"]:
            row["error"] = json_number(row["error"])
        return values


def benchmark(
    module: str | Path,
    model: str | Path | None = None,
    *,
    against: Sequence[str] = OPPONENTS,
    threads: int | None = None,
    layers: bool = False,
    rounds: int = 5,
    block_seconds: float = 0.3,
    ranges: Mapping[str, Range] | None = None,
    seed: int = 0,
) -> Benchmark:
    """Measure a module, alone or beside its opponents.

    Parameters
    ----------
    module
        Path of a compiled module.
    model
        The ONNX or ``.dcz`` file for the opponents. Default: the file that the module was compiled
        from, if one of that name is beside the module or in the current folder.
    against
        Any of ``onnxruntime`` and ``tvm`` (TVM's own importer and default pipeline).
    threads
        For all of them; default: the processors this process may use.
    layers
        Also measure the time of each kernel of the module.
    rounds, block_seconds
        Each contender gets ``rounds`` blocks of at least ``block_seconds``.

    Raises
    ------
    InputError
        An unknown opponent, or no model for the opponents.
    ModuleError, ModelError, ContainerError
        A file cannot be read.
    TargetError
        This machine cannot run the module.
    """
    from dcc.runtime import check_runs_here

    unknown = [name for name in against if name not in OPPONENTS]
    if unknown:
        raise InputError(f"--against {unknown[0]}: expected any of {', '.join(OPPONENTS)}")
    metadata = check_runs_here(module).metadata  # before the opponents are built
    specs = [TensorSpec.from_json(spec) for spec in metadata["inputs"]]
    threads = threads or available_processors()
    with tempfile.TemporaryDirectory(prefix="dcc-bench-") as name:
        folder = Path(name)
        inputs = folder / "inputs.npz"
        np.savez(inputs, **random_inputs(specs, seed, ranges))  # type: ignore[arg-type]
        worker = Worker(folder, inputs, threads, rounds, block_seconds)
        paths: dict[Kind, Path] = {"dcc": Path(module)}
        failures: dict[Kind, str] = {}
        if against:
            source = _model_of(module, metadata, model)
            for kind in OPPONENTS:
                if kind in against:
                    _prepare_opponent(kind, source, specs, folder, paths, failures)
        results = worker.measure(paths)
        results += [
            ContenderResult(kind, LABELS[kind], failure=failures[kind]) for kind in failures
        ]
        kernels = worker.kernels(Path(module)) if layers else []
    return Benchmark(results, kernels, threads, seed, machine_facts())


def _model_of(module: str | Path, metadata: Mapping[str, Any], model: str | Path | None) -> Path:
    if model is not None:
        return Path(model)
    recorded = metadata.get("source", {}).get("file")
    for folder in (Path(module).parent, Path()):
        if recorded and (folder / recorded).is_file():
            return folder / recorded
    raise InputError(
        "the opponents need the model: dcc bench OUT.so MODEL.onnx "
        f"({recorded or 'the model'}, which the module was compiled from, is not beside it)"
    )


def _prepare_opponent(
    kind: Kind,
    source: Path,
    specs: Sequence[TensorSpec],
    folder: Path,
    paths: dict[Kind, Path],
    failures: dict[Kind, str],
) -> None:
    """Give the opponent the file that it loads; a failure of its own is a result, not an error."""
    report(f"preparing {LABELS[kind]}", 0, 1)
    try:
        if kind == "tvm":
            from dcc.stock_tvm import build_stock_module

            build_stock_module(source, specs, folder / "stock.so")
            paths[kind] = folder / "stock.so"
        else:
            from dcc.reference import import_onnxruntime

            import_onnxruntime()
            paths[kind] = _plain_onnx(source, folder)
    except CompileError as error:
        failures[kind] = str(error)
    report(f"preparing {LABELS[kind]}", 1, 1)


def _plain_onnx(source: Path, folder: Path) -> Path:
    from dcc.container import is_container

    if not is_container(source):
        return source
    from dcc.reference import reference_graph

    path = folder / "model.onnx"
    path.write_bytes(reference_graph(source).SerializeToString())
    return path
