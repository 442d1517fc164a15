"""Layers of pruned networks beside ONNX Runtime and OpenVINO on the dense weights.

    python benchmarks/layers.py [--layers Alex-6 ...|none] [--batch 1] [--threads 2]
    python benchmarks/layers.py --layers none --convolutions all --densities paper|0.1
    python benchmarks/layers.py --target cuda [--batch 64]

The nine fully connected layers of EIE with random positions and codebooks of 16 values, and the
convolutions of stride 1 of AlexNet and VGG-16 with codebooks of 256. The dense competitor is the
faster of ONNX Runtime and OpenVINO in fp32. Each contender is timed in a process of its own while
the others are idle. ``--folder`` keeps models and modules, ``--prepare`` makes them and stops.

With a target that is a card, kernels alone are timed beside cuBLAS and cuSPARSE, see
``cuda_timing``. They can be made where there is none (``--target cuda-sm90 --prepare --folder F``)
and timed where there is one (``--target cuda-sm90 --folder F``), which needs PyTorch.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from alternation import Contender, Latency, alone, alternate
from layer_cases import CONVOLUTIONS, LAYERS, Case, at_density, layer_model
from ratios import DENSE, INT8, Row, print_rows, record, setting, setting_line, write_json

import dcc
from dcc.targets.cuda import find_card
from dcc.targets.registry import get_target

ALL, NONE = "all", "none"
KINDS = ("onnxruntime", "openvino")
"""Of the dense contenders, in their order."""


def prepare(case: Case, forms: Sequence[str], options: argparse.Namespace) -> dict[str, Contender]:
    """Make the files of all contenders of a case, but for those that are there."""
    seed = options.seed + [known.name for known in (*LAYERS, *CONVOLUTIONS)].index(case.name)
    stem = f"{case.name}-{case.density}-{options.batch}-{options.seed}"
    dense = options.folder / f"{stem}.onnx"
    if not dense.exists():
        onnx.save(layer_model(case, options.batch, seed), dense)
    contenders = {name: Contender(kind, dense) for name, kind in zip(DENSE, KINDS, strict=True)}
    if not case.side:
        int8 = dense.with_suffix(".int8.onnx")
        if not int8.exists():
            quantise(dense, int8)
        contenders[INT8] = Contender("onnxruntime", int8)
    for form in forms:
        module = options.folder / f"{stem}-{form}.so"
        if options.prepare or not module.exists():
            dcc.compile(dense, module, storage=form)
        contenders[form] = Contender("dcc", module)
    return contenders


def quantise(dense: Path, path: Path) -> None:
    """Quantise a model as ONNX Runtime's users do; it advises preprocessing, which is void here."""
    from onnxruntime.quantization import quantize_dynamic

    logging.disable(logging.WARNING)
    quantize_dynamic(dense, path)
    logging.disable(logging.NOTSET)


def measure(case: Case, forms: Sequence[str], options: argparse.Namespace) -> Row:
    """Time all contenders of a case."""
    contenders = prepare(case, forms, options)
    generator = np.random.default_rng(options.seed)
    x = generator.standard_normal(case.input_shape(options.batch)).astype(np.float32)
    found = alternate(contenders, {"x": x}, options.threads, options.rounds)
    if options.alone:
        compare(case, found, alone(contenders, {"x": x}, options.threads, options.rounds))
    kept = {form: storage_form(contenders[form].path) for form in forms}
    return Row(group_of(case, options), case.name, case.density, kept, found)


def compare(case: Case, turned: dict[str, Latency], single: dict[str, Latency]) -> None:
    """Print the time of each contender in turn with the others over that alone."""
    ratios = {name: turned[name].best / single[name].best for name in turned}
    cells = "  ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
    print(f"{case.name}: alternated over alone: {cells}", flush=True)


def storage_form(module: Path) -> str:
    """Return the form of the module's only weight."""
    from dcc.codegen.module_file import read_metadata

    return str(read_metadata(module)["layers"][0]["form"])


def group_of(case: Case, options: argparse.Namespace) -> str:
    """Rows of one group share a mean."""
    kind = f"convolutions, densities {options.densities}" if case.side else "layers"
    return f"{kind}, batch {options.batch}"


def select(names: Sequence[str], cases: Sequence[Case]) -> list[Case]:
    """Return the cases of these names; ``all`` and ``none`` are understood."""
    if list(names) in ([ALL], [NONE]):
        return list(cases) if names[0] == ALL else []
    known = {case.name: case for case in cases}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"there is no case '{unknown[0]}'; known: {', '.join(known)}")
    return [known[name] for name in names]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", default=[ALL], help="names, all or none")
    parser.add_argument("--convolutions", nargs="+", default=[NONE], help="names, all or none")
    parser.add_argument("--densities", default="paper", help="paper, or a share such as 0.1")
    parser.add_argument("--forms", nargs="+", help="default: sparse huffman auto, or auto alone")
    parser.add_argument("--target", default="host", help="host, or a card: cuda, cuda-sm90, ...")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="also time each with no other loaded")
    parser.add_argument("--folder", type=Path, help="keep models and modules here")
    parser.add_argument("--prepare", action="store_true", help="make models and modules, and stop")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Measure what was asked for and print it group by group."""
    groups = [select(options.layers, LAYERS), select(options.convolutions, CONVOLUTIONS)]
    if options.densities != "paper":
        groups[1] = [at_density(case, float(options.densities)) for case in groups[1]]
    facts = setting(options.threads, options.seed, rounds=options.rounds)
    print(setting_line(facts), flush=True)
    rows: list[Row] = []
    for group in groups:
        found = []
        for case in group:
            single = options.batch == 1 and not case.side
            forms = options.forms or (["sparse", "huffman", "auto"] if single else ["auto"])
            if options.prepare:
                prepare(case, forms, options)
            else:
                found.append(measure(case, forms, options))
        if found:
            print_rows(found)
            rows += found
    if options.json is not None:
        write_json(options.json, record(facts, rows))


def run_on_card(options: argparse.Namespace) -> None:
    """Make the kernels of the layers, unless they are there, and time them."""
    forms = options.forms or ["sparse", "huffman", "codebook", "dense"]
    paths = []
    for case in select(options.layers, LAYERS):
        path = options.folder / f"{case.name}-{options.batch}.json"
        if options.prepare or not path.exists():
            from cuda_kernels import prepare as prepare_kernels

            target = get_target(options.target)
            path = prepare_kernels(case, forms, options.batch, target, options.folder)
        paths.append(path)
    if not options.prepare:
        if find_card() is None:
            raise SystemExit("there is no CUDA card to time kernels on; --prepare makes them")
        from cuda_timing import time_all

        time_all(paths, options.json)


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as place:
        options.folder = options.folder or Path(place)
        options.folder.mkdir(parents=True, exist_ok=True)
        (run_on_card if options.target.startswith("cuda") else run)(options)


if __name__ == "__main__":
    main()
