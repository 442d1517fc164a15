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


def doubling(size):
    """Kernel: twice the section's uint8 weights into the decoded area; its result is a token."""

    @T.prim_func(private=True, s_tir=True)
    def kernel(token: T.Buffer((1,), "int32")):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        coded_pointer = T.call_extern("handle", "dcc_weights")
        decoded_pointer = T.call_extern("handle", "dcc_decoded")
        coded = T.decl_buffer((size,), "uint8", data=coded_pointer)
        decoded = T.decl_buffer((size,), "float32", data=decoded_pointer)
        for index in range(size):
            decoded[index] = T.Cast("float32", coded[index]) * T.float32(2)
        token[0] = 0

    return kernel


def reading(size):
    """Kernel: adds the decoded area to its input."""

    @T.prim_func(private=True, s_tir=True)
    def kernel(x: T.Buffer((size,), "float32"), result: T.Buffer((size,), "float32")):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        pointer = T.call_extern("handle", "dcc_decoded")
        decoded = T.decl_buffer((size,), "float32", data=pointer)
        for index in range(size):
            result[index] = x[index] + decoded[index]

    return kernel


def build_decoding(output, weights):
    """Write a module that decodes ``2 * weights`` at load and returns ``x + 2 * weights``."""
    section = WeightSection()
    size = weights.size
    section.add(weights)
    section.reserve(4 * size)
    builder = relax.BlockBuilder()
    decode = builder.add_func(doubling(size), "doubling")
    read = builder.add_func(reading(size), "reading")
    x = relax.Var("x", relax.TensorType((size,), "float32"))
    with builder.function("decode", []):
        with builder.dataflow():
            call = relax.call_tir(decode, relax.Tuple([]), relax.TensorType((1,), "int32"))
            token = builder.emit_output(builder.emit(call))
        builder.emit_func_output(token)
    with builder.function("main", [x]):
        with builder.dataflow():
            call = relax.call_tir(read, [x], relax.TensorType((size,), "float32"))
            result = builder.emit_output(builder.emit(call))
        builder.emit_func_output(result)
    metadata = metadata_of([("x", (size,), "float32")], [("y", (size,), "float32")], decode=True)
    lower_and_build(builder.get(), get_target("host"), section, metadata, output)
