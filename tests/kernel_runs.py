"""Compile kernels in every storage form, run them and compare with numpy."""

from __future__ import annotations

import numpy as np
import pocl
import tvm
from weights import legal_forms, random_weight

from dcc.schedules.cpu.stack import PIPELINE
from dcc.schedules.kernels import build_kernel, fold_kernel, pack_for
from dcc.schedules.tunables import default_tunables
from dcc.targets.registry import get_target

HOST = get_target("host")

# density, levels (None: raw values), type of the weight
WEIGHTS = {
    "sparse codes": (0.3, 5, "float32"),
    "sparse 8 bit codes": (0.05, 256, "float32"),
    "sparse values": (0.3, None, "float32"),
    "dense codes": (1.0, 16, "float32"),
    "dense values": (1.0, None, "float32"),
    "one value": (1.0, 1, "float32"),
    "nothing": (0.0, 4, "float32"),
    "half": (0.3, 5, "float16"),
    "double": (0.3, None, "float64"),
}
MAIN_WEIGHTS = ["sparse codes", "sparse values", "dense codes"]


def make_weight(kind, rows, columns):
    density, levels, dtype = WEIGHTS[kind]
    generator = np.random.default_rng(rows * 1000 + columns)
    return random_weight(generator, rows, columns, density, levels, dtype)


def normal(shape, dtype="float32", seed=7):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def stored(kernel, packed, target=HOST):
    """The kernel over what is stored, and the arrays that it reads."""
    if packed.form != "huffman":
        return kernel, packed.arrays
    folded, coded = fold_kernel(kernel, packed, target.features)
    return folded, coded.arrays


def run_all(kernels, outputs, threads=None, target=HOST):
    """Compile ``name -> (function, arguments)`` as one module; name -> results of ``outputs``."""
    functions = {
        name: function.with_attr("global_symbol", name) for name, (function, _) in kernels.items()
    }
    if target.gpu is not None:
        return pocl.run_functions(functions, kernels, outputs, target)
    library = tvm.compile(tvm.IRModule(functions), target.tvm_target(), tir_pipeline=PIPELINE)
    configure = tvm.get_global_func("runtime.config_threadpool")
    results = {}
    for name, (_, arguments) in kernels.items():
        # What a kernel does not write stays NaN.
        empty = [np.full(shape, np.nan, dtype) for shape, dtype in outputs]
        tensors = [tvm.runtime.tensor(array) for array in (*arguments, *empty)]
        if threads is not None:
            configure(1, threads)
        library[name](*tensors)
        results[name] = [tensor.numpy() for tensor in tensors[-len(outputs) :]]
    if threads is not None:
        configure(1, 0)
    return results


def layer_kernels(shape, weight, data, extra=(), target=HOST):
    """Kernels of a layer in every form that can hold ``weight``, with their arguments."""
    kernels = {}
    for form in legal_forms(weight):
        packed = pack_for(weight, form, default_tunables(shape, form, target, weight).packing)
        kernel, arrays = stored(build_kernel(shape, packed, target), packed, target)
        kernels[form] = (kernel, [*data, *arrays.values(), *extra])
    return kernels


def check_layer(shape, weight, data, expected, extra=(), tolerance=2e-6, threads=None, target=HOST):
    """Run every form and compare with ``expected``, a list of float64 arrays."""
    outputs = [(array.shape, shape.dtype) for array in expected]
    results = run_all(layer_kernels(shape, weight, data, extra, target), outputs, threads, target)
    for form, arrays in results.items():
        for got, wanted in zip(arrays, expected, strict=True):
            scale = max(1.0, np.abs(wanted).max(initial=0))
            error = np.abs(got.astype(np.float64) - wanted).max(initial=0) / scale
            assert error <= tolerance, f"{form}: off by {error:.1e}"
    return results
