"""Measure the nanoseconds that ``schedules/kernel_costs.py`` names, on one thread of this machine.

    python benchmarks/kernel_costs.py

Each figure is the least of the medians of several rounds, the kernels of a layer taking turns, so
that a busy machine slows all of them alike. Entries are counted as the cost model counts them.
"""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import geometric_mean, median

os.environ["TVM_NUM_THREADS"] = "1"  # before TVM makes its threads

import numpy as np
import onnx
import tvm
from onnx import TensorProto, helper, numpy_helper

import dcc
from dcc.codegen.weight_matrix import FORMS, Form, WeightMatrix
from dcc.schedules.cpu.stack import PIPELINE
from dcc.schedules.form_sizes import FormSizes
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.kernel_costs import kernel_costs
from dcc.schedules.kernels import build_kernel, fold_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape
from dcc.schedules.tunables import default_tunables
from dcc.targets.registry import get_target

HOST = get_target("host")
COSTS = kernel_costs(HOST)
RANDOM = np.random.default_rng(0)
ROUNDS, ROUND_SECONDS = 7, 0.02
WEIGHTS = [(0.1, 16), (0.3, 32), (0.5, None), (1.0, 16)]
"""Density and number of distinct values (None: raw)."""


def make_weight(rows: int, columns: int, density: float, levels: int | None) -> WeightMatrix:
    mask = RANDOM.random((rows, columns)) < density if density < 1 else None
    if levels is None:
        values = RANDOM.standard_normal((rows, columns)).astype(np.float32)
        return WeightMatrix(values=values if mask is None else values * mask, mask=mask)
    codes = RANDOM.integers(1, levels, (rows, columns)).astype(np.uint8)
    codebook = RANDOM.standard_normal(levels).astype(np.float32)
    if mask is not None:
        codes, codebook[0] = codes * mask, 0
    return WeightMatrix(codes=codes, codebook=codebook, mask=mask)


def entries_of(weight: WeightMatrix, form: Form) -> int:
    return FormSizes(weight, HOST.vector_floats).entries(form)


def kernel(shape: LayerShape, weight: WeightMatrix, form: Form) -> Callable[[], object]:
    """Compile the kernel of ``form``; returns a call of it."""
    packed = pack_for(weight, form, default_tunables(shape, form, HOST, weight).packing)
    function, arrays = build_kernel(shape, packed, HOST), packed.arrays
    if form == "huffman":
        function, coded = fold_kernel(function, packed, HOST.features)
        arrays = coded.arrays
    given = [np.zeros([int(n) for n in p.ty.shape], str(p.ty.dtype.dtype)) for p in function.params]
    names = [parameter.name for parameter in function.params]
    given[0] = RANDOM.standard_normal(given[0].shape).astype(np.float32)
    given = [arrays.get(name, array) for name, array in zip(names, given, strict=True)]
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    call = tvm.compile(module, HOST.tvm_target(), tir_pipeline=PIPELINE)["main"]
    tensors = [tvm.runtime.tensor(array) for array in given]
    return lambda: call(*tensors)


def take_turns(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Nanoseconds of each call."""
    rounds: dict[str, list[float]] = defaultdict(list)
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(3, int(ROUND_SECONDS / (time.perf_counter() - start)))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            times = []
            for _ in range(repeats[name]):
                start = time.perf_counter_ns()
                call()
                times.append(time.perf_counter_ns() - start)
            rounds[name].append(median(times))
    return {name: min(values) for name, values in rounds.items()}


Figures = dict[tuple[str, str], list[float]]


def measure_rows(figures: Figures) -> None:
    """Time an entry for the first sample and for each further one: matmuls of 1 and of 3."""
    for rows, columns in ((512, 512), (256, 2048)):
        for density, levels in WEIGHTS:
            weight = make_weight(rows, columns, density, levels)
            forms = [form for form in FORMS if weight.refusal(form) is None]
            calls = {
                f"{form} {samples}": kernel(LayerShape("matmul", samples=samples), weight, form)
                for form in forms
                for samples in (1, 3)
            }
            found = take_turns(calls)
            for form in forms:
                entries = entries_of(weight, form)
                one, three = found[f"{form} 1"] / entries, found[f"{form} 3"] / entries
                figures["row_entry", form].append(one)
                figures["row_sample", form].append(max(three - one, 1e-3) / 2)


def measure_pixels(figures: Figures) -> None:
    """Time decoding and multiplying: 1x1 convolutions over 16 and over 784 pixels."""
    for rows, columns in ((64, 128), (128, 256)):
        for density, levels in WEIGHTS:
            weight = make_weight(rows, columns, density, levels)
            forms = [f for f in FORMS if f != "dense" and weight.refusal(f) is None]
            sides = (4, 28)
            calls = {
                f"{form} {side}": kernel(
                    LayerShape(
                        "conv2d", geometry=ConvGeometry(1, columns, side, side, rows, (1, 1))
                    ),
                    weight,
                    form,
                )
                for form in forms
                for side in sides
            }
            found = take_turns(calls)
            for form in forms:
                entries = entries_of(weight, form)
                few, many = (found[f"{form} {side}"] / entries for side in sides)
                slope = (many - few) / (sides[1] ** 2 - sides[0] ** 2)
                figures["pixel multiplication", form].append(slope)
                figures["decode_entry", form].append(max(few - slope * sides[0] ** 2, 1e-3))


def measure_elements(figures: Figures) -> None:
    """Time what the pixel kernel does but for its entries: depthwise convolutions, half empty."""
    for channels, side in ((96, 56), (384, 14)):
        weight = make_weight(channels, 9, 0.5, 16)
        geometry = ConvGeometry(
            1, channels, side, side, channels, (3, 3), pads=(1, 1, 1, 1), groups=channels
        )
        found = take_turns({"": kernel(LayerShape("conv2d", geometry=geometry), weight, "sparse")})
        each = COSTS.pixel_multiplication * geometry.pixels
        entries = entries_of(weight, "sparse") * (COSTS.forms["sparse"].decode_entry + each)
        elements = geometry.image + channels * side**2
        figures["pixel element", "sparse"].append((found[""] - entries) / elements)


def measure_dense(figures: Figures) -> None:
    """Time the dense form of convolutions and of large matmuls."""
    # channels, outputs, size of the kernel, side of the image, groups, stride
    layers = {
        "convolution": [
            (64, 64, 3, 28, 1, 1),
            (256, 64, 1, 28, 1, 1),
            (64, 256, 1, 28, 1, 1),
            (16, 16, 3, 32, 1, 1),
            (512, 512, 1, 7, 1, 1),
            (32, 64, 3, 28, 1, 2),
        ],
        "depthwise": [(96, 96, 3, 28, 96, 1), (256, 256, 3, 14, 256, 1)],
    }
    for name, shapes in layers.items():
        for channels, outputs, size, side, groups, stride in shapes:
            weight = RANDOM.standard_normal((outputs, channels // groups, size, size))
            node = helper.make_node(
                "Conv", ["x", "w"], ["y"], pads=[size // 2] * 4, group=groups, strides=[stride] * 2
            )
            seconds = run_layer(node, weight, [1, channels, side, side])
            figures["dense multiplication", name].append(
                seconds / (weight.size * (side // stride) ** 2)
            )
    for rows, columns in ((512, 512), (1024, 256)):
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        weight = RANDOM.standard_normal((columns, rows))
        seconds = run_layer(node, weight, [64, columns])
        figures["dense multiplication", "matmul"].append(seconds / (weight.size * 64))


def run_layer(node: onnx.NodeProto, weight: np.ndarray, shape: list[int]) -> float:
    """Nanoseconds of a layer in the dense form.

    A chain of three against one, where the output fits the input: the call and its copies cancel.
    """
    one = dense_chain(node, weight, shape, 1)
    square = node.op_type == "Conv" and weight.shape[0] == shape[1]
    strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1])
    if not square or max(strides) > 1:
        return take_turns({"one": one})["one"]
    found = take_turns({"one": one, "three": dense_chain(node, weight, shape, 3)})
    return (found["three"] - found["one"]) / 2


def dense_chain(
    node: onnx.NodeProto, weight: np.ndarray, shape: list[int], length: int
) -> Callable[[], object]:
    """Compile a network of ``length`` times ``node``; returns a call of it."""
    nodes = []
    for index in range(length):
        names = ["x", *[f"y{number}" for number in range(length - 1)], "y"]
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0], copy.output[0] = names[index], names[index + 1]
        nodes.append(copy)
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    module = dcc.compile(model, storage="dense").load()
    x = RANDOM.standard_normal(shape).astype(np.float32)
    return lambda: module(x)


def constant(name: str, form: str) -> float:
    """Return what the cost model says."""
    if name == "pixel multiplication":
        return COSTS.pixel_multiplication
    if name == "pixel element":
        return COSTS.pixel_element
    if name == "dense multiplication":
        return COSTS.dense_multiplication[form]
    return getattr(COSTS.forms[form], name)


def main() -> None:
    figures: Figures = defaultdict(list)
    for measure in (measure_rows, measure_pixels, measure_elements, measure_dense):
        measure(figures)
    print(f"{platform.processor() or platform.machine()}, {HOST.vector_floats} floats a vector")
    print(f"{'nanoseconds of':24} {'':12} {'measured':>9} {'least':>8} {'most':>8} {'model':>8}")
    for (name, form), values in figures.items():
        low, middle, high = min(values), geometric_mean(values), max(values)
        model = constant(name, form)
        mark = "  <- off by more than 1.5x" if max(middle / model, model / middle) > 1.5 else ""
        print(f"{name:24} {form:12} {middle:9.4f} {low:8.4f} {high:8.4f} {model:8.4f}{mark}")


if __name__ == "__main__":
    main()
