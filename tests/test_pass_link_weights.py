"""Pass ``LinkWeights``, and what is left of the constants after the last pass."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from coded_models import CASES, data, model_of, node, weight
from pass_checks import apply, check, constant_bytes
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from dcc.build import lower
from dcc.codegen.section import WeightSection
from dcc.compression import weight_table
from dcc.importer import import_model
from dcc.passes.link_weights import DECODE, LinkWeights
from dcc.passes.options import Recipe
from dcc.passes.pipeline import Pipeline, compilation_steps, compression_steps
from dcc.targets.registry import get_target

HOST = get_target("host")


@I.ir_module
class Before:
    @T.prim_func(private=True, s_tir=True)
    def scale(
        x: T.Buffer((4,), "float32"), w: T.Buffer((4,), "float32"), y: T.Buffer((4,), "float32")
    ):
        T.func_attr({"dcc.layer": "w", "tirx.is_scheduled": 1})
        with T.sblock("root"):
            for i in range(4):
                y[i] = x[i] * w[i]

    @R.function
    def main(x: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
        cls = Before
        with R.dataflow():
            y = R.call_tir(
                cls.scale,
                (x, R.const([1.0, 2.0, 3.0, 4.0], "float32")),
                out_ty=R.Tensor((4,), "float32"),
            )
            R.output(y)
        return y


@I.ir_module
class Expected:
    @T.prim_func(private=True, s_tir=True)
    def scale_linked(x: T.Buffer((4,), "float32"), y: T.Buffer((4,), "float32")):
        T.func_attr({"dcc.layer": "w", "tirx.is_scheduled": 1})
        with T.sblock("root"):
            T.reads()
            T.writes()
            w = T.decl_buffer((4,), data=T.call_extern("handle", "dcc_weights"))
            for i in range(4):
                y[i] = x[i] * w[i]

    @R.function
    def main(x: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
        cls = Expected
        with R.dataflow():
            y = R.call_tir(cls.scale_linked, (x,), out_ty=R.Tensor((4,), "float32"))
            R.output(y)
        return y


@I.ir_module
class NoKernels:
    @R.function
    def main(x: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
        with R.dataflow():
            y = R.add(x, R.const([1.0, 2.0, 3.0, 4.0], "float32"))
            R.output(y)
        return y


def test_constants_of_kernels_move_into_the_section():
    section = WeightSection()
    check(LinkWeights(section), Before, Expected)
    assert section.size == 16
    np.testing.assert_array_equal(section._arrays[0], [1, 2, 3, 4])


def test_graphs_without_kernels_are_left_alone():
    section = WeightSection()
    check(LinkWeights(section), NoKernels, NoKernels)
    assert section.size == 0


def compiled(model, form, recipe=Recipe()):  # noqa: B008 - a recipe is immutable
    """The lowered module, its section, its table and the imported model."""
    imported = import_model(model)
    table = weight_table(model, imported)
    pipeline, section = Pipeline(table, HOST), WeightSection()
    module = pipeline.run(imported.module, compression_steps(table, recipe))
    module = pipeline.run(module, compilation_steps(table, HOST, form, "latency"))
    return lower(module, HOST, section), section, table, imported


def section_bytes(section) -> bytes:
    return b"".join(np.ascontiguousarray(array).tobytes() for array in section._arrays)


LARGE = {
    "matmul": model_of(
        [node("MatMul", ["x", "w"], ["y"])], {"x": data(2, 200)}, {"w": weight(200, 300)}
    ),
    "many samples": model_of(
        [node("MatMul", ["x", "w"], ["y"])], {"x": data(64, 200)}, {"w": weight(200, 300)}
    ),
    "convolution": model_of(
        [node("Conv", ["x", "w"], ["y"])], {"x": data(1, 64, 5, 5)}, {"w": weight(96, 64, 3, 3)}
    ),
    "lookup": model_of(
        [node("Gather", ["w", "i"], ["y"])], {"i": np.array([3, 1])}, {"w": weight(300, 200)}
    ),
}


@pytest.mark.parametrize("form", ["dense", "codebook", "sparse", "huffman"])
@pytest.mark.parametrize("case", LARGE)
def test_no_dense_copy_of_a_coded_weight_is_left(case, form):
    """FoldConstant would turn a lookup back into the dense weight."""
    module, section, table, imported = compiled(LARGE[case][0], form)
    dense = imported.weights["w"]
    assert sum(constant_bytes(module)) < 1024
    packed = sum(p.nbytes.total for stored in table.layer_packed.values() for p in stored)
    assert packed < dense.nbytes / 2
    assert section.size <= 1.05 * packed + 256
    everything = section_bytes(section)
    rows = dense.reshape(dense.shape[0], -1)
    for row in (rows[0], rows[:, 0]):
        assert row.tobytes() not in everything
    assert (section.decoded_size >= dense.nbytes) == (form == "dense")
    names = {variable.name_hint for variable in module.get_global_vars()}
    assert (DECODE in names) == (form == "dense")


def test_a_weight_without_a_codebook_is_stored_once():
    model, _ = model_of(
        [node("MatMul", ["x", "w"], ["y"])], {"x": data(1, 200)}, {"w": data(200, 300)}
    )
    module, section, _, imported = compiled(model, "dense")
    assert sum(constant_bytes(module)) < 1024
    assert section.size == pytest.approx(imported.weights["w"].nbytes, rel=0.05)
    assert section.decoded_size == 0


def test_equal_arrays_share_a_place():
    model, _ = CASES["shared_weight"]()
    _, section, _, _ = compiled(model, "sparse")
    arrays = [array.tobytes() for array in section._arrays]
    assert len(arrays) == len(set(arrays))


def test_weights_of_branches_are_linked():
    model, _ = CASES["branches"]()
    module, section, _, _ = compiled(model, "dense")
    assert sum(constant_bytes(module)) < 1024
    assert section.decoded_size >= 4 * 16 * 16 * 4


def test_shared_weights_are_linked_after_clustering():
    model, _ = model_of(
        [node("MatMul", ["x", "w"], ["y"])], {"x": data(1, 200)}, {"w": data(200, 300)}
    )
    module, section, table, _ = compiled(model, "codebook", Recipe(settings={"bits": 4}))
    assert section.size <= 200 * 300 / 2 * 1.1
    assert table.choices["w"][0][0] == "codebook"
    assert sum(constant_bytes(module)) < 1024


def test_a_decoder_without_parameters_gets_a_result():
    model, _ = LARGE["matmul"]
    module, _, _, _ = compiled(model, "dense")
    decoders = [
        f for v, f in module.functions_items()
        if isinstance(f, tvm.tirx.PrimFunc) and v.name_hint.endswith("_at_load")
    ]  # fmt: skip
    assert [len(decoder.params) for decoder in decoders] == [1]
    assert isinstance(module[DECODE], relax.Function)


def test_input_module_is_left_as_it_was():
    apply(LinkWeights(WeightSection()), Before)
