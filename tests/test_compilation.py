"""Whole small models through ``compile`` in every storage form, against ONNX Runtime."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from coded_models import CASES, FORMS, data, model_of, node, weight
from elftools.elf.elffile import ELFFile
from onnx_models import largest_error, run_reference

import dcc
from dcc.codegen.module_file import section_sizes
from dcc.errors import CompileError, RecipeError, TuningError
from dcc.passes.options import Recipe

TOLERANCES = {"half_precision": 2e-3}


def run(compiled, feeds):
    return compiled(*[feeds[spec["name"]] for spec in compiled.metadata["inputs"]])


def forms_of(compiled) -> dict[str, set[str]]:
    forms: dict[str, set[str]] = {}
    for layer in compiled.metadata["layers"]:
        forms.setdefault(layer["name"], set()).add(layer["form"])
    return forms


def section_bytes(compiled) -> bytes:
    with compiled.path.open("rb") as file:
        return ELFFile(file).get_section_by_name(".dcc").data()


@pytest.fixture(scope="module")
def references():
    """Model, inputs and ONNX Runtime's outputs of each case, computed once."""
    found = {}

    def of(name):
        if name not in found:
            model, feeds = CASES[name]()
            found[name] = model, feeds, run_reference(model, feeds)
        return found[name]

    return of


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_every_form_agrees_with_onnxruntime(case, form, references):
    model, feeds, expected = references(case)
    compiled = dcc.compile(model, storage=form)
    assert largest_error(run(compiled, feeds), expected) <= TOLERANCES.get(case, 1e-5)
    layers = [layer for layer in compiled.metadata["layers"] if layer["form"] != "constant"]
    assert any(layer["form"] == form for layer in layers)
    for layer in layers:
        assert layer["form"] == form or layer["reason"].startswith("left dense: ")


@pytest.mark.parametrize("case", ["lstm", "moved_weights", "extremes"])
def test_container_gives_the_section_of_the_model(case, tmp_path):
    model, _ = CASES[case]()
    path = tmp_path / "model.dcz"
    dcc.compress(model, path)
    direct, stored = dcc.compile(model), dcc.compile(path)
    assert section_bytes(direct) == section_bytes(stored)
    layers = [[(e["name"], e["form"]) for e in m.metadata["layers"]] for m in (direct, stored)]
    assert layers[0] == layers[1]


RECIPES = {
    "shared": Recipe(settings={"bits": 3}),
    "pruned": Recipe(settings={"density": 0.3}),
    "both": Recipe(settings={"density": 0.3, "bits": 4}, operator_types={"bias": {"skip": True}}),
    "skipped": Recipe(settings={"bits": 4}, layers=(("k", {"skip": True}),)),
    "n:m": Recipe(settings={"structure": "n:m"}),
    "blocks": Recipe(settings={"structure": "block", "density": 0.5, "bits": 5}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_give_the_same_module_either_way(name, tmp_path):
    """The decompressed model is what the module computes, and both ways store the same bytes."""
    weights = {"k": data(9, 8, 3, 3), "w": data(441, 40), "b": data(40)}
    weights["k"][0, 0, 0, 0] = 0
    nodes = [
        node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        node("Flatten", ["c"], ["f"]),
        node("MatMul", ["f", "w"], ["m"]),
        node("Add", ["m", "b"], ["y"]),
    ]
    model, feeds = model_of(nodes, {"x": data(1, 8, 7, 7)}, weights)
    container = dcc.compress(model, tmp_path / "model.dcz", RECIPES[name])
    direct = dcc.compile(model, recipe=RECIPES[name])
    stored = dcc.compile(tmp_path / "model.dcz")
    expected = run_reference(dcc.decompress(container), feeds)
    assert largest_error(run(direct, feeds), expected) <= 1e-5
    assert section_bytes(direct) == section_bytes(stored)
    np.testing.assert_array_equal(run(direct, feeds)[0], run(stored, feeds)[0])


def test_declined_weights_have_a_reason(references):
    compiled = dcc.compile(references("other_readers")[0], storage="sparse")
    layers = {layer["name"]: layer for layer in compiled.metadata["layers"]}
    assert layers["w"]["form"] == "sparse"
    for name in set(layers) - {"w"}:
        assert layers[name]["form"] == "constant"
        assert layers[name]["reason"].startswith("no layer that computes from coded weights")
    assert "as its data, not as its weight" in layers["left"]["reason"]
    assert "does not have 2 axes" in layers["batches"]["reason"]
    assert "along axis 0 of 2 axes only" in layers["columns"]["reason"]


@pytest.mark.parametrize("form", ["codebook", "sparse", "huffman"])
def test_batch_norm_leaves_the_codebook(form, references):
    compiled = dcc.compile(references("batch_norm")[0], storage=form)
    assert forms_of(compiled)["k"] == forms_of(compiled)["f"] == {form}
    # The weights of the two layers and no copy of one: 10,944 values would be 43,776 bytes.
    assert section_sizes(compiled.path).weights < 43_776 / 2


def test_weights_listed_as_graph_inputs(references):
    model, feeds, expected = references("gemm")
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in model.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    compiled = dcc.compile(model, storage="sparse")
    assert [spec["name"] for spec in compiled.metadata["inputs"]] == list(feeds)
    assert largest_error(run(compiled, feeds), expected) <= 1e-5


def test_external_data(tmp_path, references):
    model, feeds, expected = references("conv2d")
    model = onnx.ModelProto.FromString(model.SerializeToString())
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").stat().st_size > 1000
    dcc.compress(path, tmp_path / "model.dcz")
    for source in (path, tmp_path / "model.dcz"):
        compiled = dcc.compile(source, storage="huffman")
        assert largest_error(run(compiled, feeds), expected) <= 1e-5


@pytest.mark.parametrize("form", ["dense", "huffman"])
def test_a_thousand_steps_compile_quickly(form):
    feeds = {"x": data(1000, 1, 8)}
    weights = {"w": weight(1, 64, 8, scale=0.3), "r": weight(1, 64, 16, scale=0.1)}
    model, _ = model_of([node("LSTM", ["x", "w", "r"], ["y"], hidden_size=16)], feeds, weights)
    start = time.perf_counter()
    compiled = dcc.compile(model, storage=form)
    assert time.perf_counter() - start < 20
    assert largest_error(run(compiled, feeds), run_reference(model, feeds)) <= 1e-5


@pytest.mark.parametrize("objective", ["latency", "size", "energy"])
def test_auto_chooses_a_form_with_a_reason(objective, references):
    model, feeds, expected = references("extremes")
    compiled = dcc.compile(model, objective=objective)
    assert largest_error(run(compiled, feeds), expected) <= 1e-5
    for layer in compiled.metadata["layers"]:
        assert objective in layer["reason"]
        assert layer["bytes"]["total"] == sum(v for k, v in layer["bytes"].items() if k != "total")


def test_modules_are_the_same_every_time(references):
    model = references("lstm")[0]
    first, second = (dcc.compile(model, storage="huffman") for _ in range(2))
    assert section_bytes(first) == section_bytes(second)


def test_wrong_arguments_are_refused(references, tmp_path):
    model = references("gather")[0]
    with pytest.raises(CompileError, match="unknown storage form 'spars'"):
        dcc.compile(model, storage="spars")
    with pytest.raises(CompileError, match="unknown objective 'speed'"):
        dcc.compile(model, objective="speed")
    with pytest.raises(RecipeError, match="is compressed already"):
        dcc.compile(dcc.compress(model), recipe="lossless")
    with pytest.raises(TuningError, match="is no tuning database"):
        dcc.compile(model, database=tmp_path)


def test_dump_writes_the_module_after_each_pass(references, tmp_path):
    dcc.compile(references("gather")[0], dump=tmp_path / "ir")
    names = [path.name for path in sorted((tmp_path / "ir").iterdir())]
    assert names[0] == "01_InjectPruningMasks.py"
    assert "03_RewriteToCodebook.py" in names
    text = (tmp_path / "ir" / "03_RewriteToCodebook.py").read_text()
    assert "R.dcc.codebook_take(" in text
    assert 'layer="t"' in text
