"""k-means against plain Lloyd's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcc.codegen.codebook import assign, best_code_bits, kmeans
from dcc.errors import EncodingError


def plain_lloyd(values, centroids, weights):
    """Textbook iterations on unsorted values."""
    for _ in range(1000):
        nearest = np.abs(values[:, None] - centroids).argmin(axis=1)
        mass = np.bincount(nearest, weights, len(centroids))
        moment = np.bincount(nearest, weights * values, len(centroids))
        moved = np.where(mass > 0, moment / np.maximum(mass, 1e-300), centroids)
        if np.allclose(moved, centroids, rtol=0, atol=1e-15):
            break
        centroids = moved
    return centroids[mass > 0]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("entries", [2, 5, 16])
def test_linear_equals_plain_lloyd(entries, weighted):
    generator = np.random.default_rng(entries)
    values = generator.standard_normal(700)
    weights = generator.uniform(0.1, 2, 700) if weighted else None
    centroids, assignment = kmeans(values, entries, "linear", weights=weights)
    start = np.linspace(values.min(), values.max(), entries)
    expected = plain_lloyd(values, start, np.ones(700) if weights is None else weights)
    np.testing.assert_allclose(centroids, expected, atol=1e-12)
    assert np.array_equal(assignment, np.abs(values[:, None] - centroids).argmin(axis=1))


@pytest.mark.parametrize("initialization", ["linear", "density", "random"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_initialization_reaches_a_fixed_point(initialization, dtype):
    values = np.random.default_rng(1).standard_normal((31, 33)).astype(dtype)
    centroids, assignment = kmeans(values, 8, initialization, seed=3)
    again, same = kmeans(values, 8, initialization, seed=3)
    assert np.array_equal(centroids, again)
    assert np.array_equal(assignment, same)
    assert centroids.dtype == dtype
    assert assignment.shape == values.shape
    assert (np.diff(centroids.astype(np.float64)) > 0).all()
    error = np.abs(values.astype(np.float64) - centroids[assignment])
    nearest = np.abs(values[..., None].astype(np.float64) - centroids).min(axis=-1)
    np.testing.assert_array_equal(error, nearest)


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=60), st.integers(1, 256))
def test_few_distinct_values_are_kept_exactly(values, entries):
    array = np.array(values, dtype=np.float32)
    centroids, assignment = kmeans(array, entries)
    assert 1 <= len(centroids) <= entries
    if len(np.unique(array)) <= entries:
        assert np.array_equal(centroids[assignment], array)


def test_borders_between_float32_neighbours():
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2))
    values = np.array([low] * 5 + [high] * 5 + [3.0], dtype=np.float32)
    centroids, assignment = kmeans(values, 2)
    assert np.array_equal(assignment, assign(values, centroids))


def test_bad_arguments():
    with pytest.raises(EncodingError, match="NaN or infinity"):
        kmeans(np.array([1.0, np.nan, 2.0]), 2)
    with pytest.raises(EncodingError, match="257 entries"):
        kmeans(np.ones(3), 257)
    with pytest.raises(EncodingError, match="initialization"):
        kmeans(np.arange(9.0), 2, "kmeans++")


@pytest.mark.parametrize(
    ("count", "bits", "expected"),
    [
        (1_000_000, 5, 5),
        (300, 8, 7),
        (1, 8, None),
        (2, 8, None),
        (3, 5, 1),
        (0, 5, None),
        (10**6, 12, 8),
    ],
)
def test_a_codebook_never_costs_more_than_it_saves(count, bits, expected):
    assert best_code_bits(count, bits, 4) == expected
    if expected:
        assert (4 << expected) <= count * (32 - expected) / 8
