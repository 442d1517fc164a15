"""Calibration: what it gains, and that the biases take back what the weights shift."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx import helper
from onnx_models import make_model

import dcc
from dcc.cli.main_group import main_group
from dcc.errors import InputError
from dcc.importer.graph import read_graph
from dcc.onnx_weights import array_of, weight_tensors
from dcc.passes.options import Recipe
from dcc.training.activation_statistics import gather_statistics
from dcc.training.bias_correction import corrected_biases
from dcc.training.calibration import calibrate
from dcc.training.calibration_inputs import read_batches, split_batches

ROUGH = Recipe("rough", settings={"bits": 2}, operator_types={"bias": {"bits": None}})
RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    """A convolution with a normalisation, one with a bias, a product with an addition, a Gemm."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "w2", "b2"], ["d"], strides=[2, 2]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["g"]),
        helper.make_node("Add", ["b3", "g"], ["h"]),
        helper.make_node("Relu", ["h"], ["i"]),
        helper.make_node("Gemm", ["i", "w4", "b4"], ["y"], transB=1, alpha=0.5, beta=2.0),
    ]
    arrays = {
        "w1": normal(6, 3, 3, 3),
        **{name: normal(6) for name in ("scale", "shift", "mean")},
        "var": np.abs(normal(6)) + 1,
        "w2": normal(9, 6, 3, 3),
        "b2": normal(9),
        "w3": normal(81, 17),
        "b3": normal(17),
        "w4": normal(11, 17),
        "b4": normal(11),
    }
    return make_model(nodes, {"x": [1, 3, 8, 8]}, {"y": [1, 11]}, arrays)


@pytest.fixture(scope="module")
def inputs():
    # Channels that differ much, and a mean: as images have them.
    return (RANDOM.normal(size=(16, 3, 8, 8)) * [[[[3]], [[1]], [[0.1]]]] + 1).astype(np.float32)


@pytest.fixture(scope="module")
def calibration(network, inputs):
    return calibrate(network, {"x": inputs}, ROUGH)


def test_what_is_kept_is_best(calibration):
    alone = calibration.variants[0]
    assert [variant.label for variant in calibration.variants] == [
        "recipe alone",
        "bias correction",
        "weighted k-means",
        "weighted k-means + bias correction",
    ]
    assert calibration.kept.calibration_db == max(v.calibration_db for v in calibration.variants)
    assert calibration.kept.held_out_db > alone.held_out_db + 1
    assert (calibration.batches, calibration.held_out, calibration.biases) == (12, 4, 4)


def test_bias_correction_keeps_the_mean_of_every_layer(network, inputs):
    """For each layer by itself: the mean of its outputs on the original inputs is the original's.

    Against a numpy product of the mean inputs: what the weights lost is what the biases got.
    """
    graph = read_graph(network.graph)
    batches = [{"x": each} for each in inputs[:, np.newaxis]]
    statistics = gather_statistics(network, batches)
    rough = {name: np.round(graph.constants[name]) for name in ("w1", "w2", "w3", "w4")}
    biases = corrected_biases(graph, rough, statistics)
    assert set(biases) == {"mean", "b2", "b3", "b4"}
    mean = {reading.weight: moments.mean for reading, moments in statistics}
    lost = {name: (graph.constants[name] - rough[name]) * mean[name] for name in rough}
    moved = {name: biases[name] - graph.constants[name] for name in biases}
    np.testing.assert_allclose(moved["mean"], -lost["w1"].sum(axis=(1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(moved["b2"], lost["w2"].sum(axis=(1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(moved["b3"], lost["w3"].sum(axis=0), atol=1e-5)
    np.testing.assert_allclose(2 * moved["b4"], 0.5 * lost["w4"].sum(axis=1), atol=1e-5)


def test_biases_that_others_read_stay():
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["y"]),
    ]
    arrays = {"w": normal(5, 4), "b": normal(4)}
    model = make_model(nodes, {"x": [1, 5]}, {"y": [1, 4]}, arrays)
    statistics = gather_statistics(model, [{"x": np.ones((1, 5), np.float32)}])
    graph = read_graph(model.graph)
    assert corrected_biases(graph, {"w": np.round(arrays["w"])}, statistics) == {}


def test_a_lossless_recipe_changes_nothing(inputs):
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = make_model([node], {"x": [1, 24]}, {"y": [1, 5]}, {"w": normal(24, 5)})
    found = calibrate(model, {"x": normal(4, 24)}, "lossless")
    other = dcc.compress(model, None, "lossless", calibrate={"x": normal(4, 24)})
    assert other.to_bytes() == found.container.to_bytes()
    assert {v.held_out_db for v in found.variants} == {None}
    assert found.kept is found.variants[0]
    for name, tensor in weight_tensors(found.container.to_onnx()).items():
        np.testing.assert_array_equal(array_of(tensor), array_of(weight_tensors(model)[name]))


def test_inputs_must_be_finite_and_more_than_one(network, caplog):
    specs = dcc.compile(network).load().inputs
    broken = np.zeros((5, 192), np.float32)
    broken[3, 7] = np.inf
    with pytest.raises(InputError, match=r"'x' holds NaN or infinity at \[3, 7\]; expected finite"):
        read_batches({"x": broken}, specs)
    split_batches(read_batches({"x": np.zeros((2, 192))}, specs))
    assert not caplog.text
    split_batches(read_batches({"x": np.zeros((1, 192))}, specs))
    assert "one batch alone is learnt from and measured on" in caplog.text


def test_batches(network):
    specs = dcc.compile(network).load().inputs
    assert len(read_batches({"x": np.zeros((5, 192))}, specs)) == 5
    with pytest.raises(InputError, match=r"holds the arrays z; .* 'x' is missing"):
        read_batches({"z": np.zeros((5, 192))}, specs)
    with pytest.raises(InputError, match=r"has shape \[5, 7\], .* 192 elements a sample"):
        read_batches({"x": np.zeros((5, 7))}, specs)
    with pytest.raises(InputError, match="expected one batch or more"):
        read_batches({"x": np.zeros((0, 192))}, specs)
    assert [len(part) for part in split_batches([{}] * 3)] == [2, 1]
    assert [len(part) for part in split_batches([{}])] == [1, 1]


def test_command(calibration, network, inputs, tmp_path, capsys):
    """What it prints, and that its file has the bytes of the function's."""
    (tmp_path / "m.onnx").write_bytes(network.SerializeToString())
    (tmp_path / "rough.yaml").write_text("global: {bits: 2}\noperators: {bias: {bits: null}}\n")
    np.savez(tmp_path / "inputs.npz", x=inputs)
    main_group(
        [
            "compress", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.dcz"),
            "--recipe", str(tmp_path / "rough.yaml"), "--calibrate", str(tmp_path / "inputs.npz"),
            "--json", str(tmp_path / "m.json"),
        ],
        standalone_mode=False,
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "calibration on 12 batches, 4 held out" in printed
    (kept,) = [
        v
        for v in json.loads((tmp_path / "m.json").read_text())["calibration"]["variants"]
        if v["kept"]
    ]
    assert kept["weighted"] or kept["bias_corrected"]
    assert (tmp_path / "m.dcz").read_bytes() == calibration.container.to_bytes()
