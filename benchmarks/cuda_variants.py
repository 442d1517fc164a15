"""Kernels of the nine layers for a card, in several packings: made here, timed where the card is.

    python benchmarks/cuda_variants.py FOLDER [--target cuda-sm90] [--batch 1] [--quick]

writes a library and a binary of its kernels for each layer, and ``manifest.json``. The weights are
packed again by ``cuda_timing.py`` from their seeds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import tvm
from cuda_packing import weight_of
from layer_cases import LAYERS, Case

from dcc.build import device_modules
from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.schedules.kernels import build_kernel, fold_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import default_tunables
from dcc.targets.cuda_toolchain import compile_cuda
from dcc.targets.registry import get_target
from dcc.targets.target import Target

SHAPES = ((32, 32), (16, 32), (16, 64), (8, 64), (32, 16))


def phases_of(columns: int, room: int) -> int:
    return -(-columns // room)


def variants(weight: WeightMatrix, shape: LayerShape, target: Target) -> list[tuple[Form, Packing]]:
    """The default packings, and others of the sparse and the huffman form."""
    found: list[tuple[Form, Packing]] = []
    forms: tuple[Form, ...] = ("sparse", "huffman", "codebook")
    if shape.samples > 1:
        forms = (*forms, "dense")
    if shape.samples > 1:
        return [(form, default_tunables(shape, form, target, weight).packing) for form in forms]
    base = Packing(32, sort=True, phases=phases_of(weight.columns, 10_400))
    for rows, segments in SHAPES:
        split = replace(base, block_rows=rows, segments=segments)
        found.append(("sparse", replace(split, gap_bits=5)))
    for rows, segments in ((32, 32), (16, 32)):
        found.append(("sparse", replace(base, block_rows=rows, segments=segments)))
    split = replace(base, block_rows=16, segments=32)
    found.append(("sparse", replace(split, gap_bits=5, load_words=2)))
    found.append(("codebook", replace(base, block_rows=32, segments=32, sort=False)))
    base = replace(base, phases=phases_of(weight.columns, 9_400), code_length=10)
    for rows, segments in SHAPES[:4]:
        found.append(("huffman", replace(base, block_rows=rows, segments=segments, gap_bits=5)))
    base = replace(base, phases=phases_of(weight.columns, 7_600))
    split = replace(base, block_rows=16, segments=32, gap_bits=5, code_length=11)
    found.append(("huffman", split))
    return found


def make(case: Case, seed: int, batch: int, target: Target, folder: Path) -> dict[str, Any]:
    """Compile the kernels of a case."""
    weight = weight_of(case, seed)
    shape = LayerShape("matmul", samples=batch)
    functions, kept = {}, []
    for number, (form, packing) in enumerate(variants(weight, shape, target)):
        packed = pack_for(weight, form, packing)
        kernel = build_kernel(shape, packed, target)
        if form == "huffman":
            kernel, packed = fold_kernel(kernel, packed, target.features)
        name = f"kernel_{number}"
        functions[name] = kernel.with_attr("global_symbol", name)
        kept.append({"function": name, "form": form, "packing": asdict(packing)})
        kept[-1] |= {"bytes": int(sum(a.nbytes for a in packed.arrays.values()))}
        if form != "dense":
            kept[-1] |= {"steps": packed.steps * packed.lanes, "gap_bits": packed.gap_bits}
    library = tvm.compile(tvm.IRModule(functions), target.tvm_target())
    stem = f"{case.name}-{batch}"
    library.export_library(str(folder / f"{stem}.so"))
    binaries = {}
    for number, module in enumerate(device_modules(library.mod)):
        source = module.inspect_source()
        binary = folder / f"{stem}-{number}.cubin"
        binary.write_bytes(compile_cuda(source, str(target.options["arch"])))
        binaries[sha256(source.encode()).hexdigest()] = binary.name
    record = {"name": case.name, "seed": seed, "batch": batch, "library": f"{stem}.so"}
    return record | {"binaries": binaries, "kernels": kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", default="cuda-sm90")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--layers", nargs="+")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    target = get_target(options.target)
    for batch in options.batch:
        for index, case in enumerate(LAYERS):
            if options.layers is None or case.name in options.layers:
                record = make(case, index, batch, target, options.folder)
                path = options.folder / f"{case.name}-{batch}.json"
                path.write_text(json.dumps(record))
                print(case.name, batch, len(record["kernels"]), flush=True)


if __name__ == "__main__":
    main()
