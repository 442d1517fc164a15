"""Kernels of layers for a card: made where TVM is, timed by ``cuda_timing`` elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tvm
from cuda_packing import weight_of
from layer_cases import LAYERS, Case

from dcc.build import device_modules
from dcc.card_binaries import digest_of
from dcc.schedules.cost_model import estimate_all
from dcc.schedules.kernels import build_kernel, fold_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import default_tunables
from dcc.targets.cuda_toolchain import compile_cuda
from dcc.targets.target import Target


def prepare(case: Case, forms: Sequence[str], batch: int, target: Target, folder: Path) -> Path:
    """Compile the kernels of a case in the default packings; returns the record of them."""
    seed = LAYERS.index(case)
    weight, shape = weight_of(case, seed), LayerShape("matmul", samples=batch)
    functions, kept = {}, []
    for form in forms:
        packing = default_tunables(shape, form, target, weight).packing
        packed = pack_for(weight, form, packing)
        kernel = build_kernel(shape, packed, target)
        if form == "huffman":
            kernel, packed = fold_kernel(kernel, packed, target.features)
        name = f"kernel_{form}"
        functions[name] = kernel.with_attr("global_symbol", name)
        kept.append({"function": name, "form": form, "packing": asdict(packing)})
    library = tvm.compile(tvm.IRModule(functions), target.tvm_target())
    stem = f"{case.name}-{batch}"
    library.export_library(str(folder / f"{stem}.so"))
    binaries = {}
    for number, module in enumerate(device_modules(library.mod)):
        source = module.inspect_source()
        binary = folder / f"{stem}-{number}.cubin"
        binary.write_bytes(compile_cuda(source, str(target.options["arch"])))
        binaries[digest_of(source)] = binary.name
    estimates = estimate_all(weight, shape, target).values()
    auto = min(estimates, key=lambda estimate: estimate.nanoseconds).form
    record = {"name": case.name, "seed": seed, "batch": batch, "library": f"{stem}.so"}
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(record | {"auto": auto, "binaries": binaries, "kernels": kept}))
    return path
