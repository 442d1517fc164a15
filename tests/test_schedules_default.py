"""Default schedules: the same results as TVM's plain loops, on whatever shape comes."""

import numpy as np
import pytest
import tvm
from tvm import te, tirx, topi
from tvm.script import tirx as T

from dcc.schedules.cpu.default import apply_default_schedules
from dcc.targets.registry import get_target


def place(*shape, dtype="float32", name="x"):
    return te.placeholder(shape, dtype, name=name)


def function(inputs, *outputs):
    return te.create_prim_func([*inputs, *outputs])


def convolution(channels, size, kernel, filters, stride=1, padding=0, dilation=1, groups=1):
    data = place(1, channels, *size, name="data")
    weight = place(filters, channels // groups, kernel, kernel, name="weight")
    bias = place(1, filters, 1, 1, name="bias")
    if groups == 1:
        result = topi.nn.conv2d_nchw(data, weight, stride, padding, dilation)
    else:
        result = topi.nn.group_conv2d_nchw(data, weight, stride, padding, dilation, groups)
    return function([data, weight, bias], topi.nn.relu(topi.add(result, bias)))


def convolution_1d(channels, length, kernel, filters, stride=1, padding=0):
    data, weight = place(2, channels, length), place(filters, channels, kernel, name="w")
    return function([data, weight], topi.nn.conv1d_ncw(data, weight, stride, padding, 1))


def product(rows, inner, columns, transposed=False, dtype="float32"):
    left = place(rows, inner, dtype=dtype, name="left")
    right = place(*((columns, inner) if transposed else (inner, columns)), dtype=dtype, name="r")
    result = topi.matmul(left, right, transp_b=transposed)
    return function([left, right], topi.add(result, tirx.const(1, dtype)))


def batched(batch, rows, inner, columns):
    left, right = place(batch, rows, inner), place(batch, inner, columns, name="right")
    return function([left, right], topi.nn.batch_matmul(left, right, transpose_b=False))


def pooling(kind, channels, size, kernel, stride, padding):
    data = place(1, channels, *size)
    pads = [padding] * 4
    return function([data], topi.nn.pool2d(data, [kernel] * 2, [stride] * 2, [1, 1], pads, kind))


def of_one(make, *shape, dtype="float32"):
    data = place(*shape, dtype=dtype)
    return function([data], make(data))


def chain(data):
    return topi.concatenate([topi.transpose(topi.exp(data), (0, 2, 1)), place_constant(data)], 1)


def place_constant(data):
    return topi.full((data.shape[0], 1, data.shape[1]), "float32", 2.0)


CASES = {
    "conv 3x3": lambda: convolution(5, (13, 13), 3, 6, padding=1),
    "conv 3x3 whole vectors": lambda: convolution(8, (8, 32), 3, 16, padding=1),
    "conv stride 2, even": lambda: convolution(3, (16, 16), 3, 8, stride=2, padding=1),
    "conv stride 2, odd": lambda: convolution(3, (15, 17), 3, 8, stride=2, padding=1),
    "conv stride 3, no padding": lambda: convolution(2, (20, 31), 5, 7, stride=3),
    "conv dilated": lambda: convolution(4, (17, 31), 3, 4, padding=2, dilation=2),
    "conv to one pixel": lambda: convolution(4, (3, 3), 3, 5),
    "conv to a prime width": lambda: convolution(3, (5, 37), 3, 3, padding=1),
    "conv asymmetric kernel": lambda: convolution_1d(3, 33, 5, 7, stride=1, padding=2),
    "conv 1-D strided": lambda: convolution_1d(1, 64, 4, 5, stride=2),
    "conv strided to a prime width": lambda: convolution(3, (9, 73), 3, 8, stride=2, padding=1),
    "conv to a prime width, long": lambda: convolution(4, (6, 53), 3, 12, padding=1),
    "pointwise": lambda: convolution(12, (7, 7), 1, 24),
    "pointwise prime pixels": lambda: convolution(6, (1, 31), 1, 4),
    "pointwise strided": lambda: convolution(6, (8, 8), 1, 4, stride=2),
    "depthwise": lambda: convolution(9, (14, 14), 3, 9, padding=1, groups=9),
    "depthwise strided": lambda: convolution(8, (15, 15), 3, 8, 2, 1, groups=8),
    "depth multiplier": lambda: convolution(4, (12, 12), 3, 8, padding=1, groups=4),
    "grouped": lambda: convolution(8, (12, 12), 3, 12, padding=1, groups=2),
    "large, parallel": lambda: convolution(16, (24, 24), 3, 16, padding=1),
    "product": lambda: product(7, 31, 33),
    "product of a row": lambda: product(1, 200, 10),
    "product of a column": lambda: product(17, 9, 1),
    "product of single numbers": lambda: product(1, 1, 1),
    "product transposed": lambda: product(3, 65, 48, transposed=True),
    "product of integers": lambda: product(4, 5, 32, dtype="int32"),
    "product of float64": lambda: product(4, 5, 32, dtype="float64"),
    "product of float16": lambda: product(4, 5, 64, dtype="float16"),
    "product large": lambda: product(64, 64, 64),
    "product batched": lambda: batched(3, 5, 7, 16),
    "maximum pool": lambda: pooling("max", 6, (14, 14), 2, 2, 0),
    "maximum pool padded": lambda: pooling("max", 5, (15, 11), 3, 2, 1),
    "average pool": lambda: pooling("avg", 16, (9, 9), 3, 1, 1),
    "global average": lambda: of_one(lambda x: topi.nn.global_pool(x, "avg"), 1, 24, 7, 7),
    "mean": lambda: of_one(lambda x: topi.sum(x, axis=(2, 3), keepdims=True), 1, 1280, 7, 7),
    "sum to a number": lambda: of_one(topi.sum, 40, 1000),
    "sum over the first axis": lambda: of_one(lambda x: topi.sum(x, axis=0), 70, 48),
    "maximum of integers": lambda: of_one(lambda x: topi.max(x, axis=1), 8, 50, dtype="int64"),
    "argmax": lambda: of_one(lambda x: topi.argmax(x, axis=1), 16, 50),
    "softmax": lambda: of_one(topi.nn.softmax, 3, 37),
    "softmax large": lambda: of_one(topi.nn.softmax, 64, 1000),
    "transpose": lambda: of_one(lambda x: topi.transpose(x, (2, 0, 1)), 33, 40, 31),
    "map of a number": lambda: of_one(topi.exp, dtype="float32"),
    "map large": lambda: of_one(lambda x: topi.tanh(topi.add(x, x)), 5, 10_000),
    "chain": lambda: of_one(chain, 4, 9, 11),
    "empty": lambda: of_one(topi.exp, 0, 4),
    "booleans": lambda: of_one(lambda x: topi.logical_not(x), 3, 5, dtype="bool"),
    "pad": lambda: of_one(lambda x: topi.nn.pad(x, [0, 1, 2], [3, 0, 1]), 5, 6, 7),
}


def arguments(func):
    generator = np.random.default_rng(0)
    for parameter in func.params:
        kind = parameter.ty
        shape, dtype = [int(size) for size in kind.shape], str(kind.dtype)
        if dtype.startswith("float"):
            yield generator.standard_normal(shape).astype(dtype)
        else:
            yield generator.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


def run(module, target, arrays):
    with target:
        executable = tvm.compile(module, target)
    tensors = [tvm.runtime.tensor(np.array(array)) for array in arrays]
    executable["main"](*tensors)
    return tensors[-1].numpy()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("target_name", ["host", "x86-64-v3"])
def test_schedules_keep_the_result(name, target_name):
    target = get_target(target_name)
    present = set(get_target("host").required_features)
    if not set(target.required_features) <= present:
        pytest.skip(f"this machine lacks features of {target_name}")
    func = CASES[name]()
    scheduled = apply_default_schedules(tvm.IRModule({"main": func}), target)
    assert scheduled["main"].attrs["tirx.is_scheduled"]
    assert tvm.s_tir.analysis.verify_well_formed(scheduled["main"])
    arrays = list(arguments(func))
    expected = run(tvm.IRModule({"main": func}), target.tvm_target(), arrays)
    tolerance = 2e-2 if "float16" in name else 1e-5
    actual = run(scheduled, target.tvm_target(), arrays)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "name", ["conv 3x3", "conv stride 2, even", "pointwise", "depthwise", "product", "maximum pool"]
)
def test_heavy_operators_are_tiled(name):
    module = tvm.IRModule({"main": CASES[name]()})
    scheduled = apply_default_schedules(module, get_target("x86-64-v4"))
    text = scheduled["main"].script()
    assert "T.vectorized" in text
    assert 'scope="local"' in text


def test_not_a_number_passes_through():
    func = convolution(4, (8, 16), 3, 4, padding=1)
    arrays = list(arguments(func))
    arrays[0][0, 1, 2, 3] = np.nan
    target = get_target("host")
    expected = run(tvm.IRModule({"main": func}), target.tvm_target(), arrays)
    scheduled = apply_default_schedules(tvm.IRModule({"main": func}), target)
    actual = run(scheduled, target.tvm_target(), arrays)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))


def test_what_is_scheduled_or_of_unknown_size_stays():
    func = product(4, 4, 16).with_attr("tirx.is_scheduled", True)

    @T.prim_func(s_tir=True)
    def dynamic(source: T.handle, result: T.handle):
        n = T.int64()
        a = T.match_buffer(source, (n,), "float32")
        b = T.match_buffer(result, (n,), "float32")
        for i in range(n):
            with T.sblock("copy"):
                v = T.axis.spatial(n, i)
                b[v] = a[v]

    module = tvm.IRModule({"done": func, "dynamic": dynamic})
    after = apply_default_schedules(module, get_target("host"))
    tvm.ir.assert_structural_equal(after["done"], func)
    tvm.ir.assert_structural_equal(after["dynamic"], dynamic)


def test_the_given_module_is_not_changed():
    module = tvm.IRModule({"main": product(4, 4, 16)})
    before = module["main"]
    apply_default_schedules(module, get_target("host"))
    assert module["main"].same_as(before)
