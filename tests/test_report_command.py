"""``dcc report`` end to end: on the model that ships with dcc, and on a small net with hostile names."""

import json
from importlib.resources import files

import numpy as np
import onnx
import pytest
from browser import browser, check_page, opened
from onnx import helper
from onnx_models import make_model
from pydantic import TypeAdapter
from report_facts import HOSTILE

import dcc
from dcc.__main__ import main
from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.errors import InputError, OutputError, RecipeError, TargetError
from dcc.reporting.accuracy_points import without_sharing
from dcc.reporting.builds import Builds
from dcc.reporting.facts import PARTS, STAGES, CompressionReport
from dcc.reporting.stages import stage_bytes
from dcc.reporting.timing import TimingOptions, time_target
from dcc.schedules.mca.cycles import find_mca
from dcc.targets.emulation import emulator_for
from dcc.targets.registry import get_target

MODEL = str(files("dcc.data") / "digits.onnx")
DATA = str(files("dcc.data") / "digits.npz")
SAMPLES = 40


def run_ok(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Folder with the page and the JSON of the digits."""
    folder = tmp_path_factory.mktemp("digits")
    run_ok(
        "report", MODEL, "--recipe", "deep-compression", "--data", DATA, "--samples", SAMPLES,
        "--targets", "host, cuda-sm80", "--threads", 1, "-o", folder / "report.html", "--json", folder / "report.json",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def content(digits):
    return json.loads((digits / "report.json").read_text())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A small convolutional net whose weights bear hostile names, reported on the accelerator."""
    generator = np.random.default_rng(0)
    conv = generator.standard_normal((16, 16, 3, 3)).astype(np.float32)
    conv[generator.random(conv.shape) < 0.6] = 0
    matrix = generator.standard_normal((10, 16 * 36)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", HOSTILE[0]], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", HOSTILE[1]], ["y"], transB=1),
    ]
    model = make_model(
        nodes, {"x": [1, 16, 6, 6]}, {"y": [1, 10]}, {HOSTILE[0]: conv, HOSTILE[1]: matrix}
    )
    folder = tmp_path_factory.mktemp("hostile")
    onnx.save(model, folder / "<b>net.onnx")
    report = dcc.report(
        folder / "<b>net.onnx",
        folder / "report.html",
        targets=["vta-sim", "android-arm64"],
        threads=1,
    )
    return folder, report


def test_the_json_has_the_shape_that_the_facts_say(digits):
    text = (digits / "report.json").read_text()
    report = TypeAdapter(CompressionReport).validate_json(text, strict=True)
    assert report.to_json() == json.loads(text)
    assert report.schema == "dcc-report"
    assert report.version == 1


def test_sizes_are_those_of_the_files(content, tmp_path):
    container = dcc.compress(MODEL, tmp_path / "a.dcz", recipe="deep-compression")
    stages = {stage["name"]: stage for stage in content["stages"]}
    assert tuple(stages) == STAGES
    assert stages["huffman"]["file_bytes"] == (tmp_path / "a.dcz").stat().st_size
    assert stages["dense"]["file_bytes"] == content["provenance"]["model_bytes"] == 233_518
    dense = sum(tensor.decode().nbytes for tensor in container.tensors.values())
    assert stages["dense"]["bytes"]["total"] == dense
    totals = [stages[name]["bytes"]["total"] for name in STAGES]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] == sum(tensor.nbytes().total for tensor in container.tensors.values())
    for stage in stages.values():
        assert sum(stage["bytes"][part] for part in PARTS) == stage["bytes"]["total"]
        for part in (*PARTS, "total"):
            parts = [layer["bytes"][stage["name"]][part] for layer in content["layers"]]
            assert sum(parts) == stage["bytes"][part]


def test_layers_have_density_and_histograms(content):
    layers = {layer["name"]: layer for layer in content["layers"]}
    hidden = layers["hidden.weight"]
    assert hidden["density"] == pytest.approx(0.08, abs=1e-3)
    assert sum(hidden["codes"]["counts"]) == round(hidden["density"] * 128 * 256)
    assert hidden["codes"]["values"] == sorted(hidden["codes"]["values"])
    assert sum(hidden["row_density"]["counts"]) == 128
    assert layers["conv1.bias"]["codes"] is None
    assert sum(layers["conv1.bias"]["values"]["counts"]) == 16


def test_accuracy_after_each_stage(content):
    stages = {stage["name"]: stage["accuracy"] for stage in content["stages"]}
    with np.load(DATA) as data:
        module = dcc.compile(MODEL, recipe="dense")
        right = [
            module(x[None])[0].argmax() == y
            for x, y in zip(data["x"][:SAMPLES], data["y"][:SAMPLES], strict=True)
        ]
    assert stages["dense"] == pytest.approx(100 * np.mean(right))
    assert stages["pruned"] == stages["dense"]  # the zeros were there already
    assert stages["shared"] == stages["huffman"]
    assert stages["huffman"] >= stages["dense"] - 5
    assert [point["label"] for point in content["points"]] == list(STAGES)
    assert content["data"]["samples"] == SAMPLES


def test_every_form_is_timed_on_this_machine(content):
    host = content["devices"][0]
    assert host["timing"] == "measured"
    assert [v["storage"] for v in host["variants"]] == [
        "auto", "dense", "codebook", "sparse", "huffman",
    ]  # fmt: skip
    for variant in host["variants"]:
        assert variant["notes"] == []
        assert variant["seconds"] > 0
        assert variant["module_bytes"] > 10_000
        layers = {layer["name"]: layer for layer in variant["layers"]}
        assert "hidden.weight" in layers
        assert "conv1.bias" not in layers
        assert all(layer["seconds"] > 0 for layer in layers.values())
        if variant["storage"] not in ("auto", "dense"):
            assert layers["hidden.weight"]["form"] == variant["storage"]


def test_energy_proxies_add_up(content):
    for device in content["devices"]:
        for variant in device["variants"]:
            if variant["module_bytes"] is None:
                continue
            layers = sum(sum(layer["picojoules"].values()) for layer in variant["layers"])
            assert layers > 0
            assert layers + variant["other_picojoules"] == pytest.approx(variant["picojoules"])
    host = {
        variant["storage"]: variant["picojoules"] for variant in content["devices"][0]["variants"]
    }
    assert host["sparse"] < host["dense"]
    assert content["devices"][0]["energy_table"]["dram_word"][0] == 640.0


def test_a_card_that_is_not_there_cannot_be_timed(content):
    from dcc.targets.cuda import find_card

    if find_card() is not None:
        pytest.skip("this machine has a card")
    card = content["devices"][1]
    assert card["name"] == "cuda-sm80"
    assert card["timing"] == "none"
    assert "cannot be" in card["about"]


def test_provenance(content):
    origin = content["provenance"]
    assert origin["model"] == "digits.onnx"
    assert len(origin["model_sha256"]) == 64
    assert "bits: 5" in origin["recipe_text"]
    assert origin["options"]["targets"] == ["host", "cuda-sm80"]
    assert origin["machine"]["versions"]["apache-tvm"]


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_in_a_browser(digits, width):
    with browser() as chromium, opened(chromium, digits / "report.html", width) as found:
        check_page(found, digits / "report.html")
        _, button = found.heading("Kept")
        button.click()
        assert found.rows()[-1] == "hidden.weight"


def test_hostile_names_in_a_real_report(hostile):
    folder, report = hostile
    page = (folder / "report.html").read_text()
    assert "<script>document" not in page
    assert "<b>net" not in page
    assert page.count("<script>") == 1
    assert {layer.name for layer in report.layers} == {HOSTILE[0], HOSTILE[1]}
    with browser() as chromium, opened(chromium, folder / "report.html", 400) as found:
        check_page(found, folder / "report.html")
        assert found.page.title() == "<b>net.onnx: compression report"


def test_the_accelerator_is_simulated_layer_by_layer(hostile):
    device = hostile[1].devices[0]
    assert device.timing == "simulated"
    assert [v.storage for v in device.variants] == [
        "auto",
        "dense",
        "blocks",
        "codebook",
        "huffman",
    ]
    dense = device.variant("dense")
    assert dense.seconds > 0
    times = {layer.name: layer.seconds for layer in dense.layers}
    assert times[HOSTILE[0]] > 0
    assert dense.seconds == pytest.approx(
        sum(each for each in times.values() if each is not None) + dense.other_seconds
    )


def test_a_target_without_its_compiler_says_so(hostile):
    device = hostile[1].devices[1]
    assert device.name == "android-arm64"
    assert device.timing == "none"
    assert "cannot be" in device.about


def test_a_model_with_nothing_to_compress(tmp_path):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, 4]}, {"y": [1, 4]})
    onnx.save(model, tmp_path / "relu.onnx")
    report = dcc.report(tmp_path / "relu.onnx", tmp_path / "report.html", threads=1)
    assert report.layers == []
    (variant,) = report.devices[0].variants
    assert variant.storage == "auto"
    assert variant.seconds > 0
    assert "there is nothing to compress" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--targets", "hots"), "no target 'hots'; did you mean 'host'"),
        (("--recipe", "deep"), "no recipe 'deep'"),
        (("--data", "missing.npz"), "no file or folder 'missing.npz'"),
        (("--compare", "lossless"), "give --data"),
        (("--objective", "speed"), "'speed' is not one of"),
        (("--json", "no/such/folder/report.json"), "no folder"),
    ],
)
def test_what_is_asked_for_must_exist(arguments, said, tmp_path, capsys):
    assert main(["report", MODEL, "-o", str(tmp_path / "report.html"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_to(tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        dcc.report(MODEL, tmp_path / "missing" / "report.html")
    with pytest.raises(OutputError, match="not a plain file"):
        dcc.report(MODEL, tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(OutputError, match="the file that is read"):
        dcc.report(tmp_path / "model.onnx", tmp_path / "model.onnx")


def test_data_of_another_shape(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros((3, 7), np.float32), y=np.zeros(3, np.int64))
    with pytest.raises(InputError, match="7 elements"):
        dcc.report(MODEL, data=tmp_path / "data.npz")


def test_a_container_takes_no_recipe(tmp_path):
    dcc.compress(MODEL, tmp_path / "a.dcz")
    with pytest.raises(RecipeError, match="compressed already"):
        dcc.report(tmp_path / "a.dcz", recipe="lossless")


def test_bytes_of_stages_without_padding_or_zeros():
    """A weight that is dense and has too many values to share is the same in every stage."""
    array = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    sizes = stage_bytes(EncodedTensor.from_dense(array))
    assert [sizes[name]["total"] for name in ("dense", "pruned", "shared")] == [8000] * 3
    assert sizes["huffman"]["total"] < 8000 + 20


def test_a_container_is_reported_without_what_it_has_lost(tmp_path):
    dcc.compress(MODEL, tmp_path / "a.dcz", recipe="deep-compression")
    report = dcc.report(
        tmp_path / "a.dcz", tmp_path / "a.html", data=DATA, samples=SAMPLES, targets=()
    )
    assert [stage.accuracy is None for stage in report.stages] == [True, True, False, False]
    assert report.stage("dense").file_bytes is None
    assert report.stage("huffman").file_bytes == (tmp_path / "a.dcz").stat().st_size
    assert report.provenance.recipe == "deep-compression"
    assert [point.label for point in report.points] == ["shared", "huffman"]
    assert "no longer holds the weights of this stage" in (tmp_path / "a.html").read_text()
    with pytest.raises(InputError, match="an ONNX model"):
        dcc.report(tmp_path / "a.dcz", data=DATA, compare=["lossless"])


def test_pruning_alone_keeps_the_values():
    recipe = without_sharing(dcc.load_recipe("digits"))
    assert recipe.for_layer("hidden.weight", "Gemm").bits is None
    assert recipe.for_layer("hidden.weight", "Gemm").density == 0.05
    assert recipe.for_layer("hidden.bias", "bias").bits is None


@pytest.mark.emulated
def test_an_arm_core_is_estimated_layer_by_layer(tmp_path):
    weight = np.random.default_rng(0).standard_normal((24, 40)).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    model = make_model([node], {"x": [1, 40]}, {"y": [1, 24]}, {"w": weight})
    builds = Builds(dcc.compress(model, recipe="deep-compression"), tmp_path)
    target = get_target("arm-cortex-a72")
    try:
        modules = {"codebook": builds.module(target, "codebook")}
        emulator_for(target.triple)
        find_mca()
    except TargetError as error:
        pytest.skip(str(error))
    times = time_target(target, modules, builds, TimingOptions(threads=1))
    assert times.timing == "estimated"
    assert "not measured" in times.about
    assert times.modules["codebook"].layers["w"] > 0
    assert times.modules["codebook"].total == pytest.approx(
        times.modules["codebook"].layers["w"] + times.modules["codebook"].other
    )
