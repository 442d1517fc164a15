"""Small modules for the tests of linking and running: Relax functions over weights in the section."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.script import tirx as T

from dcc.build import lower_and_build
from dcc.codegen.section import WeightSection
from dcc.targets.registry import get_target
from dcc.tensor_spec import TensorSpec
from dcc.tvm_library import tvm_version


def metadata_of(inputs, outputs, decode=False):
    specs = lambda values: [TensorSpec(*value).to_json() for value in values]  # noqa: E731
    return {
        "format": 1,
        "tvm": tvm_version(),
        "target": get_target("host").describe(),
        "inputs": specs(inputs),
        "outputs": specs(outputs),
        "layers": [],
        "decode": decode,
    }


def row_sums(rows, columns):
    """Kernel: sum of each row of the uint8 matrix at the start of the section."""

    @T.prim_func(private=True, s_tir=True)
    def kernel(result: T.Buffer((rows,), "float32")):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        pointer = T.call_extern("handle", "dcc_weights")
        weights = T.decl_buffer((rows, columns), "uint8", data=pointer)
        for row in T.parallel(rows):
            result[row] = T.float32(0)
            for column in range(columns):
                result[row] = result[row] + T.Cast("float32", weights[row, column])

    return kernel


def build_row_sums(output, matrix, **changes):
    """Write a module that returns the row sums of ``matrix``, which lies in its section."""
    section = WeightSection()
    section.add(matrix)
    rows, columns = matrix.shape
    builder = relax.BlockBuilder()
    kernel = builder.add_func(row_sums(rows, columns), "row_sums")
    with builder.function("main", []):
        with builder.dataflow():
            call = relax.call_tir(kernel, relax.Tuple([]), relax.TensorType((rows,), "float32"))
            result = builder.emit_output(builder.emit(call))
        builder.emit_func_output(result)
    metadata = metadata_of([], [("sums", (rows,), "float32")]) | changes
    lower_and_build(builder.get(), get_target("host"), section, metadata, output)


def build_function(output, inputs, make, target="host"):
    """Write a module whose ``main`` is ``make(*variables)``, an expression or a tuple of them."""
    builder = relax.BlockBuilder()
    variables = [relax.Var(name, relax.TensorType(shape, dtype)) for name, shape, dtype in inputs]
    with builder.function("main", variables):
        with builder.dataflow():
            results = make(*variables)
            several = isinstance(results, tuple)
            values = [builder.emit(each) for each in (results if several else (results,))]
            value = builder.emit_output(relax.Tuple(values) if several else values[0])
        builder.emit_func_output(value)
    outputs = [
        (f"out{index}", tuple(int(size) for size in each.ty.shape), str(each.ty.dtype))
        for index, each in enumerate(values)
    ]
    metadata = metadata_of(inputs, outputs) | {"target": get_target(target).describe()}
    lower_and_build(builder.get(), get_target(target), WeightSection(), metadata, output)


def constant(array):
    return relax.const(tvm.runtime.tensor(np.asarray(array)))
