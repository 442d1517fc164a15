"""The parts of the layer benchmark that compute: cases, weights, turns, ratios, the record."""

import json

import numpy as np
import onnx
import pytest
from alternation import Contender, Latency, alternate, latency, turns
from layer_cases import CONVOLUTIONS, LAYERS, Case, at_density, layer_model, random_weight
from memory import growth, status
from ratios import DENSE, INT8, Row, geometric_mean, group_means, record
from roofline import ENTRY_PERMUTES, LANES, bound, weight_of
from yardstick import parse


def seconds(best: float) -> Latency:
    return Latency(best, 2 * best, best, 3 * best, 10)


def row(name: str, dense: float, ours: float, int8: float | None = None) -> Row:
    latencies = {DENSE[0]: seconds(dense), DENSE[1]: seconds(2 * dense), "sparse": seconds(ours)}
    if int8 is not None:
        latencies[INT8] = seconds(int8)
    return Row("layers", name, 0.1, {"sparse": "sparse"}, latencies)


def test_the_cases_are_those_of_the_papers():
    assert len(LAYERS) == 9
    assert sum(np.prod(case.weight_shape) for case in LAYERS[3:6]) == 123_633_664  # VGG-16
    names = [case.name for case in CONVOLUTIONS]
    assert len(names) == len(set(names)) == 4 + 13
    assert sum(np.prod(case.weight_shape) for case in CONVOLUTIONS[4:]) == 14_710_464


@pytest.mark.parametrize("levels", [16, 256])
@pytest.mark.parametrize("codes", ["laplacian", "yardstick"])
def test_weights_have_the_density_and_the_codebook(levels, codes):
    case = Case("", (300, 200), 0.2, levels=levels, codes=codes)
    weight = random_weight(case, np.random.default_rng(1))
    assert weight.dtype == np.float32
    assert np.count_nonzero(weight) / weight.size == pytest.approx(0.2, abs=0.01)
    distinct = np.unique(weight)
    assert 0 in distinct
    assert distinct.size <= levels
    if codes == "laplacian" and levels == 16:
        assert distinct.size == 16
        counts = [np.isclose(weight, 0.01 * level).sum() for level in (1, 3, 5, 7)]
        assert counts == sorted(counts, reverse=True)


def test_weights_depend_on_the_seed_alone():
    case = at_density(LAYERS[-1], 0.05)
    first, same, other = (random_weight(case, np.random.default_rng(n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    "case",
    [
        Case("", (7, 5), 0.5),
        Case("", (6, 2, 3, 3), 0.5, side=9, groups=2),
        Case("", (4, 2, 5, 5), 0.5, 8),
    ],
)
def test_models_are_valid_and_have_the_shapes_they_promise(case):
    model = layer_model(case, batch=3, seed=0)
    onnx.checker.check_model(model)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = [
        [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (inferred.graph.input[0], inferred.graph.output[0])
    ]
    assert shapes == [case.input_shape(3), case.output_shape(3)]


def test_every_round_begins_with_another_contender():
    assert list(turns(["a", "b", "c"], 3)) == list("abcbcacab")


def test_the_best_block_is_the_one_with_the_least_median():
    found = latency([[4.0, 5.0, 6.0], [1.0, 2.0, 9.0]])
    assert (found.best, found.median, found.calls) == (2.0, 4.5, 6)
    assert latency([[0.5]]) == Latency(0.5, 0.5, 0.5, 0.5, 1)


def test_the_dense_competitor_is_the_faster_one():
    assert row("", dense=3.0, ours=1.5).ratio("sparse") == 2.0
    assert row("", 3.0, 1.5).int8_ratio("sparse") is None
    assert row("", 3.0, 1.5, int8=0.3).int8_ratio("sparse") == pytest.approx(0.2)


def test_means_are_geometric_and_by_group():
    rows = [row("a", 2.0, 1.0, 1.0), row("b", 8.0, 1.0, 4.0)]
    assert group_means(rows) == {"layers": {"sparse": pytest.approx(4), "int8": pytest.approx(2)}}
    assert geometric_mean([3.0]) == pytest.approx(3.0)


def test_the_record_is_json():
    facts = {"threads": 2, "seed": 0}
    value = json.loads(json.dumps(record(facts, [row("a", 2.0, 1.0)])))
    assert value["threads"] == 2
    assert value["means"]["layers"]["sparse"] == pytest.approx(2.0)
    (only,) = value["rows"]
    assert only["ratios"] == {"sparse": 2.0}
    assert only["latencies"]["sparse"]["best"] == 1.0
    assert {"group", "name", "density", "forms"} < set(only)


def test_a_contender_answers_from_a_process_of_its_own(tmp_path):
    pytest.importorskip("onnxruntime")
    case = Case("", (8, 4), 0.5)
    path = tmp_path / "layer.onnx"
    onnx.save(layer_model(case, 1, 0), path)
    inputs = {"x": np.zeros(case.input_shape(1), np.float32)}
    found = alternate({"it": Contender("onnxruntime", path)}, inputs, threads=1, rounds=1)
    assert found["it"].calls > 1


def test_a_contender_that_cannot_start_ends_the_benchmark(tmp_path):
    missing = {"it": Contender("onnxruntime", tmp_path / "missing.onnx")}
    with pytest.raises(RuntimeError, match="exit code"):
        alternate(missing, {"x": np.zeros(1)}, threads=1, rounds=1)


def test_the_yardstick_is_read():
    printed = """4096 x 9216, 9.0 % non-zero
dense                                10.204 ms    1.0x dense
sparse, uncoded                       1.518 ms    6.7x dense
huffman, one slice at a time          4.228 ms    2.4x dense
huffman, four slices interleaved      4.106 ms    2.5x dense
"""
    assert parse(printed) == {"sparse": pytest.approx(1.518e-3), "huffman": pytest.approx(4.106e-3)}
    with pytest.raises(ValueError, match="sparse, uncoded"):
        parse("nothing")


def test_memory_counts_from_before_the_model_was_loaded():
    assert growth({"before": 100, "peak": 350}, "peak") == 250
    assert 0 < status("VmRSS") <= status("VmHWM")


def test_a_roofline_counts_what_the_weight_holds():
    case = Case("", (640, 160), 0.1)
    weight = weight_of(case, 3)
    values = random_weight(case, np.random.default_rng(3)).T
    np.testing.assert_allclose(weight.codebook[weight.codes], values, atol=1e-7)
    rates = {"cache_bytes": 1e9, "memory_bytes": 1e8, "permutes": 1e9, "multiplications": 1e9}
    near = bound(weight, {**rates, "gathers": 1e8}, last_level=1 << 30)
    far = bound(weight, {**rates, "gathers": 1e8}, last_level=0)
    assert near.entries > np.count_nonzero(values)
    assert far.traffic == pytest.approx(10 * near.traffic)
    each = 1 + ENTRY_PERMUTES  # and a multiplication
    assert near.instructions == pytest.approx(each * near.entries / LANES * 1e-9)
