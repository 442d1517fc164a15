"""The figures of the VTA backend.

    python benchmarks/vta.py --models FOLDER --data MNIST_FOLDER [--only SECTION...]

Cycles and utilisation are simulated. Accuracy and agreement are those of the integer reference,
which equals the simulator bit for bit (checked here on the first inputs of each model).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from vta_agreement import print_agreement

import dcc
from dcc.accelerator.reference import ReferenceExecutor
from dcc.accelerator.report import measure_operations
from dcc.codegen.vta.coded_weights import Levels
from dcc.datasets import read_labelled
from dcc.machine import machine_facts
from dcc.schedules.vta.conv import conv_stream
from dcc.schedules.vta.layers import ConvLayer, Requantise
from dcc.schedules.vta.measuring import ComputeCycles, compute_cycles, stream_timeline
from dcc.schedules.vta.operations import ConvWeights, conv_operation
from dcc.schedules.vta.search import TilingSearch
from dcc.schedules.vta.tiling import Tiling
from dcc.targets.vta.device import VTA
from dcc.targets.vta.isa import Queue

RESNET_LAYERS = ((64, 56), (128, 28), (256, 14), (512, 7))
SHARES = (0.5, 0.1)
EPILOGUE = 5
BATCH = 50


def resnet_layer(channels: int, size: int) -> ConvLayer:
    """Make a 3x3 layer of ResNet-18 with bias and ReLU."""
    square, ones = (3, 3), (1, 1)
    rule = Requantise(9, 0, 127)
    return ConvLayer(
        1,
        channels,
        size,
        size,
        channels,
        square,
        ones,
        (1, 1, 1, 1),
        bias=True,
        requantise=rule,
        bias_blocks=True,
    )


def utilisation(trials: int) -> None:
    print("GEMM utilisation on ResNet-18's 3x3 layers, simulated")
    print(f"{'layer':14}{'cycles':>10}{'default':>9}{f'{trials} trials':>12}  tiling")
    for channels, size in RESNET_LAYERS:
        layer = resnet_layer(channels, size)
        search = TilingSearch(layer, VTA)
        best = search.run(trials)
        default = layer.micro_ops / search.cycles[search.default]
        tuned = layer.micro_ops / search.cycles[best]
        name = f"{size}x{size}x{channels}"
        print(
            f"{name:14}{search.cycles[best]:10,.0f}{100 * default:8.1f}%{100 * tuned:11.1f}%  "
            f"rows {best.rows} columns {best.columns} outputs {best.outputs} inputs {best.inputs}",
            flush=True,
        )


def zero_blocks(trials: int) -> None:
    """Tuned cycles at some zero blocks, and where the cycles of the compute queue go.

    ``floor`` is the ratio of the counts alone: the micro-ops of the blocks left, and five cycles
    for each accumulator (reset, bias, shift, two bounds), which no form of ALU or GEMM instruction
    takes less for, over the share of the dense cycles.
    """
    print("\ncycles with a share of the blocks left, over that share of the dense cycles")
    kinds = list(asdict(ComputeCycles()))
    columns = f"{'cycles':>10}{'default':>9}{'tuned':>7}{'floor':>7}  dense bound by"
    print(f"{'layer':12}{'blocks':>7}{columns}{''.join(f'{kind:>10}' for kind in kinds)}")
    for channels, size in RESNET_LAYERS:
        layer = resnet_layer(channels, size)
        accumulators = layer.output_blocks * layer.out_height * layer.out_width
        dense = _tuned(layer, None, trials)
        line = stream_timeline(conv_stream(layer, dense[1], VTA), VTA)
        bound = "load" if line.busy[Queue.LOAD] > line.busy[Queue.COMPUTE] else "compute"
        for share in SHARES:
            kept = _kept(layer, share)
            default, tuned = _tuned(layer, kept, trials)
            cycles = [
                stream_timeline(conv_stream(layer, each, VTA, kept), VTA).cycles
                for each in (default, tuned)
            ]
            whole = share * line.cycles
            floor = kept.mean() * layer.micro_ops + EPILOGUE * accumulators
            account = asdict(compute_cycles(conv_stream(layer, tuned, VTA, kept), VTA))
            print(
                f"{f'{size}x{size}x{channels}':12}{100 * share:6.0f}%{cycles[1]:10,.0f}"
                f"{cycles[0] / whole:9.2f}{cycles[1] / whole:7.2f}{floor / whole:7.2f}  {bound:14}"
                f"{''.join(f'{account[kind]:10,.0f}' for kind in kinds)}",
                flush=True,
            )


def _tuned(layer: ConvLayer, kept: np.ndarray | None, trials: int) -> tuple[Tiling, Tiling]:
    """Give the default tiling and the best of some trials."""
    search = TilingSearch(layer, VTA, kept)
    return search.default, search.run(trials)


def _kept(layer: ConvLayer, share: float) -> np.ndarray:
    """Exactly ``share`` of the blocks, at random."""
    shape = (layer.output_blocks, layer.input_blocks, *layer.kernel)
    kept = np.zeros(int(np.prod(shape)), bool)
    count = round(share * kept.size)
    kept[np.random.default_rng(0).permutation(kept.size)[:count]] = True
    return kept.reshape(shape)


def weight_bytes() -> None:
    print("\nbytes of weights that come from DRAM, with a coherent port, of dense int8")
    random = np.random.default_rng(0)
    for channels, size in RESNET_LAYERS:
        layer = resnet_layer(channels, size)
        # Sixteen levels, normally distributed as k-means finds them.
        levels = np.linspace(-120, 120, 16).astype(np.int8)
        shape = (layer.outputs, layer.channels, *layer.kernel)
        codes = np.clip(np.rint(random.normal(7.5, 2.5, shape)), 0, 15).astype(np.uint8)
        weights = ConvWeights(Levels(codes, levels[None]), np.zeros(layer.outputs, np.int32))
        name = f"{size}x{size}x{channels}"
        for form in ("codebook", "huffman"):
            try:
                operation = conv_operation(name, layer, weights, form, VTA)
            except dcc.DccError as error:
                print(f"{name:14}{form:10} {error}")
                continue
            ratio = operation.coded.coded_bytes / codes.size
            print(f"{name:14}{form:10}{operation.coded.coded_bytes:10,}{ratio:7.3f}")


def mnist(models: Path, data: Path, folder: Path) -> None:
    print("\nLeNet-5 on the MNIST test set")
    labelled = read_labelled(data)
    for name in ("lenet5_caffe_mnist_dense", "lenet5_caffe_mnist_pruned_dns"):
        source, shapes = models / f"{name}.onnx", {"data": [BATCH, 1, 28, 28]}
        spec = dcc.load(dcc.compile(source, shapes=shapes)).inputs[0]
        batches = list(labelled.batches(spec))
        module, reference, host = _compiled(source, folder, shapes, {"data": batches[0]})
        _check(module, reference, [{"data": batch} for batch in batches[:1]])
        answers = []
        for run in (reference, host):
            found = np.concatenate([run({"data": batch})[0].argmax(1) for batch in batches])
            answers.append(100 * float((found[: len(labelled.labels)] == labelled.labels).mean()))
        print(f"{name:34} float {answers[1]:.2f} %, int8 {answers[0]:.2f} %", flush=True)


def _compiled(source: Path, folder: Path, shapes, calibration):
    """Make the module on the simulator, on the integer reference, and the float module."""
    path = folder / f"{source.stem}.so"
    dcc.compile(source, path, target="vta-sim", shapes=shapes, calibrate=calibration)
    module = dcc.load(path)
    reference = module.on(ReferenceExecutor(module.accelerator.operations))
    return module, reference, dcc.load(dcc.compile(source, shapes=shapes))


def _check(module, reference, inputs) -> None:
    for each in inputs:
        for ours, expected in zip(module(each), reference(each), strict=True):
            np.testing.assert_array_equal(ours, expected)


def simulator_speed(models: Path, folder: Path) -> None:
    print("\nseconds of the simulator for one image: first run (with all checks), second run")
    cases = {
        "lenet5_caffe_mnist_dense": {"data": [1, 1, 28, 28]},
        "squeezenet_v1.0_deep_compressed_decoded": {"data": [1, 3, 227, 227]},
    }
    for name, shapes in cases.items():
        path = folder / f"{name}.so"
        dcc.compile(models / f"{name}.onnx", path, target="vta-sim", shapes=shapes)
        module = dcc.load(path)
        inputs = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in module.inputs}
        times = []
        for _ in range(2):
            start = time.perf_counter()
            module(inputs)
            times.append(time.perf_counter() - start)
        reports = measure_operations(path)
        cycles = sum(report.run.cycles for report in reports)
        print(
            f"{name:42}{times[0]:7.2f} s{times[1]:7.2f} s   {cycles:,.0f} cycles "
            f"({cycles / VTA.timing.megahertz * 1e-3:.1f} ms at {VTA.timing.megahertz:g} MHz)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--only", nargs="*", help="some of the sections, by their functions' names")
    options = parser.parse_args()
    print(json.dumps(machine_facts()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sections = {
            "utilisation": lambda: utilisation(options.trials),
            "zero_blocks": lambda: zero_blocks(options.trials),
            "weight_bytes": weight_bytes,
            "mnist": lambda: mnist(options.models, options.data, folder),
            "agreement": lambda: print_agreement(options.models, folder),
            "simulator_speed": lambda: simulator_speed(options.models, folder),
        }
        for section, run in sections.items():
            if options.only is None or section in options.only:
                run()


if __name__ == "__main__":
    main()
