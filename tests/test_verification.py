"""What verify counts and what it decides, without a compiled module."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from dcc.differences import OutputDifference
from dcc.errors import InputError
from dcc.recipes import load_recipe
from dcc.tensor_spec import TensorSpec
from dcc.verification import _Comparison, recipe_changed_weights


def difference(actual, expected):
    result = OutputDifference("y")
    result.add(np.asarray(actual), np.asarray(expected))
    return result


def comparison(ours, theirs):
    """A comparison of two functions of one input ``x`` [2, 3]."""
    module = SimpleNamespace(
        inputs=[TensorSpec("x", (2, 3), "float32")],
        outputs=[TensorSpec("y", (2, 3), "float32")],
        metadata={},
    )
    return _Comparison(SimpleCallable(module, ours), lambda inputs: [theirs(inputs["x"])])


class SimpleCallable:
    def __init__(self, module, function):
        self.__dict__.update(module.__dict__)
        self.function = function

    def __call__(self, inputs):
        return [self.function(inputs["x"])]


def test_difference_of_equal_outputs():
    values = np.array([1.0, np.nan, np.inf, -np.inf, 0.0], np.float32)
    result = difference(values, values)
    assert result.largest_error == 0
    assert result.sqnr_db is None


def test_difference_in_numbers():
    result = difference([1.0, -4.0], [1.0, -5.0])
    assert result.largest_error == 1
    assert result.relative_error == pytest.approx(0.2)
    assert result.sqnr_db == pytest.approx(10 * math.log10(26))


def test_difference_adds_up():
    result = difference([1.0], [1.0])
    result.add(np.array([2.0]), np.array([4.0]))
    assert result.largest_error == 2
    assert result.largest_magnitude == 4
    assert result.signal == 17


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_lost_number_is_an_infinite_error(wrong):
    result = difference([wrong, 1.0], [1.0, 1.0])
    assert result.largest_error == math.inf
    json.loads(json.dumps(result.to_json(), allow_nan=False))


def test_difference_of_integers_and_of_nothing():
    assert difference(np.array([3, 2]), np.array([3, 4])).largest_error == 2
    assert difference(np.array([True]), np.array([False])).largest_error == 1
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))).relative_error == 0


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"shape \[2\], the reference \[3\]"):
        difference(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize(
    ("recipe", "changed"),
    [
        ("lossless", False),
        ("dense", False),
        ("deep-compression", True),
        ("sparse-90", True),
        ("sparse-2-4", True),
        ("operators: {Conv: {bits: 8}}", True),
        ("layers: {conv1: {density: 0.5}}", True),
        ("layers: {conv1: {skip: true}}", False),
    ],
)
def test_whether_the_recipe_changes_weights(recipe, changed, tmp_path):
    from dcc.compression import describe_recipe

    if ":" in recipe:
        (tmp_path / "recipe.yaml").write_text(recipe)
        recipe = tmp_path / "recipe.yaml"
    described = describe_recipe(load_recipe(recipe))
    assert recipe_changed_weights({"source": {"recipe": described}}) is changed


def test_a_model_without_a_recipe_is_not_changed():
    assert not recipe_changed_weights({"source": {"file": "a.onnx"}})


def labelled(samples, labels, spec_batch=2):
    from dcc.datasets import LabelledData

    return LabelledData(np.asarray(samples, np.float32), np.asarray(labels))


def test_accuracy_counts_only_real_samples():
    found = comparison(lambda x: x, lambda x: -x)
    found.run_labelled(labelled(np.eye(3), [0, 1, 0]))
    result = found.judge(changed=True, tolerance=1e-5, max_drop=None)
    assert result.accuracy == pytest.approx(100 * 2 / 3)
    assert result.reference_accuracy == pytest.approx(100 * 1 / 3)
    assert result.criterion == "report"
    assert result.holds


def test_max_drop_decides():
    found = comparison(lambda x: np.zeros_like(x), lambda x: x)
    found.run_labelled(labelled(np.eye(3), [0, 1, 2]))
    assert found.judge(changed=False, tolerance=1e-5, max_drop=66.7).holds
    result = found.judge(changed=False, tolerance=1e-5, max_drop=66.6)
    assert result.criterion == "accuracy"
    assert not result.holds


def test_tolerance_decides_where_nothing_was_changed():
    found = comparison(lambda x: x + 1e-3, lambda x: x)
    found.run({"x": np.ones((2, 3))})
    assert not found.judge(changed=False, tolerance=1e-5, max_drop=None).holds
    assert found.judge(changed=False, tolerance=2e-3, max_drop=None).holds


def test_a_lost_number_never_holds():
    found = comparison(lambda x: x * np.nan, lambda x: x)
    found.run({"x": np.ones((2, 3))})
    assert not found.judge(changed=True, tolerance=1.0, max_drop=None).holds
