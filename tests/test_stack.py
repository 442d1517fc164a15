"""Small buffers of kernels stay on the stack; large and unknown ones do not."""

import pytest
import tvm
from kernel_runs import HOST, make_weight
from tvm.script import tirx as T

from dcc.codegen.packing import Packing
from dcc.schedules.cpu.stack import PIPELINE, locals_on_stack
from dcc.schedules.kernels import build_kernel, pack_for
from dcc.schedules.layer_shape import LayerShape


# fmt: off
@T.prim_func(private=True, s_tir=True)
def three_buffers(y: T.Buffer((8,), "float32"), n: T.int32):
    for i in range(8):
        small = T.alloc_buffer((64,), "float32", scope="local")
        large = T.alloc_buffer((100000,), "float32", scope="local")
        shared = T.alloc_buffer((64,), "float32", scope="global")
        small[i] = T.float32(1)
        large[i] = small[i]
        shared[i] = large[i]
        y[i] = shared[i]
# fmt: on


def test_only_small_local_buffers_are_marked():
    marked = locals_on_stack(tvm.IRModule({"main": three_buffers}))["main"].script()
    lines = [line for line in marked.splitlines() if "disable_lower_builtin" in line]
    assert len(lines) == 1
    assert lines[0].strip().startswith("small = ")


@pytest.mark.parametrize("form", ["dense", "codebook", "sparse", "huffman"])
def test_a_kernel_of_rows_takes_nothing_from_the_workspace(form):
    weight = make_weight("sparse codes", 64, 100)
    packed = pack_for(weight, form, Packing(HOST.vector_floats, sort=True))
    kernel = build_kernel(LayerShape("matmul"), packed, HOST).with_attr("global_symbol", "main")
    module = tvm.IRModule({"main": kernel})
    built = tvm.compile(module, HOST.tvm_target(), tir_pipeline=PIPELINE)
    code = built.mod.inspect_source("ll")
    assert "fmuladd" in code
    assert "AllocWorkspace" not in code
