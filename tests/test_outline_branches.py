"""Pass ``OutlineBranches``."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from dcc.passes.outline_branches import OutlineBranches


@I.ir_module
class Before:
    @R.function
    def main(
        c: R.Tensor((), "bool"), x: R.Tensor((2, 3), "float32"), w: R.Tensor((3,), "float32")
    ) -> R.Tensor((2, 3), "float32"):
        if c:
            a = R.add(x, w)
            y = R.nn.relu(a)
        else:
            b = R.multiply(x, w)
            y = R.exp(b)
        return y


@I.ir_module
class Expected:
    @R.function(private=True)
    def branch(x: R.Tensor((2, 3), "float32"), w: R.Tensor((3,), "float32")) -> R.Tensor(
        (2, 3), "float32"
    ):
        a = R.add(x, w)
        y = R.nn.relu(a)
        return y

    @R.function(private=True)
    def branch1(x: R.Tensor((2, 3), "float32"), w: R.Tensor((3,), "float32")) -> R.Tensor(
        (2, 3), "float32"
    ):
        b = R.multiply(x, w)
        y = R.exp(b)
        return y

    @R.function
    def main(
        c: R.Tensor((), "bool"), x: R.Tensor((2, 3), "float32"), w: R.Tensor((3,), "float32")
    ) -> R.Tensor((2, 3), "float32"):
        cls = Expected
        if c:
            y = cls.branch(x, w)
        else:
            y = cls.branch1(x, w)
        return y


def test_each_branch_becomes_a_function():
    assert relax.analysis.check_well_formed(OutlineBranches()(Before))
    tvm.ir.assert_structural_equal(OutlineBranches()(Before), Expected)


def test_a_function_without_branches_is_left_alone():
    module = tvm.IRModule({"main": Expected["branch"].with_attr("global_symbol", "main")})
    tvm.ir.assert_structural_equal(OutlineBranches()(module), module)


def test_outlined_branches_compute_the_same():
    machine = relax.VirtualMachine(tvm.compile(OutlineBranches()(Before), "llvm"), tvm.cpu())
    x, w = np.ones((2, 3), np.float32), np.array([-2, 0, 3], np.float32)
    for condition, expected in ((True, np.maximum(x + w, 0)), (False, np.exp(x * w))):
        inputs = [tvm.runtime.tensor(a) for a in (np.array(condition), x, w)]
        np.testing.assert_allclose(machine["main"](*inputs).numpy(), expected, rtol=1e-6)
