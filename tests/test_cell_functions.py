"""Sigmoid and tanh of vectors against numpy, at every size of argument."""

from __future__ import annotations

import numpy as np
from kernel_runs import run_all
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.schedules.cpu.cell_functions import vector_functions
from dcc.schedules.weight_reader import argument


def kernel(index, count):
    with IRBuilder() as builder, T.prim_func():
        x, y = (argument(name, (count,), "float32") for name in "xy")
        with T.serial(0, count // 8) as block:
            at = block * 8 + T.Ramp(0, 1, 8)
            T.buffer_store(y, vector_functions(8)[index](x[at]), [at])
    return builder.get()


def test_against_numpy():
    x = np.concatenate([np.linspace(-30, 30, 4000), [0, -0.0, 1e-30, 87, -87, 90, -90, 200]])
    x = np.append(x, [-1000, np.inf, -np.inf, np.nan, 3e38, -3e38, 0.1, 0.2]).astype(np.float32)
    with np.errstate(over="ignore"):
        wide = x.astype(np.float64)
        expected = {"sigmoid": 1 / (1 + np.exp(-wide)), "tanh": np.tanh(wide)}
    kernels = {name: (kernel(index, x.size), [x]) for index, name in enumerate(expected)}
    found = run_all(kernels, [((x.size,), "float32")])
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][0], values, rtol=0, atol=2e-7, err_msg=name)
