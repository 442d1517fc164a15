"""Whole models compiled for a card against ONNX Runtime: by PoCL, and on a card.

``make test`` runs some; the rest of models and storage forms is marked slow.
"""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pocl
import pytest
from coded_models import CASES, FORMS
from onnx_models import largest_error, run_reference
from test_model_matrix import QUICK, RANGES, SHAPES, SLOW

import dcc
from dcc.random_inputs import random_inputs

pytestmark = pytest.mark.emulated
TOLERANCES = {"half_precision": 2e-3}
QUICK_CASES = {("branches", "dense"), ("other_readers", "huffman"), ("gru", "sparse")}
QUICK_MODELS = {("lenet300100_caffe_mnist_pruned_dns", "auto"), ("tflm_mnist_lstm20", "huffman")}


def marked(names, quick):
    """Every name in every form; those not quick are slow."""
    return [
        pytest.param(name, form, marks=[] if (name, form) in quick else [pytest.mark.slow])
        for name in names
        for form in (*FORMS, "auto")
    ]


class Card:
    """A module of this machine's card."""

    def __init__(self, model, storage="auto", shapes=None):
        self.module = dcc.compile(model, target="cuda", storage=storage, shapes=shapes).load()
        self.inputs = self.module.inputs

    def __call__(self, feeds):
        return self.module(feeds)


@pytest.fixture(scope="module", params=["pocl", pytest.param("card", marks=pytest.mark.gpu)])
def make(request):
    if request.param == "card":
        return Card
    pocl.device()
    return pocl.Module


@functools.cache
def case(name):
    model, feeds = CASES[name]()
    return model, feeds, run_reference(model, feeds)


@pytest.mark.parametrize(("name", "form"), marked(CASES, QUICK_CASES))
def test_operators(name, form, make):
    model, feeds, expected = case(name)
    module = make(model, form)
    for _ in range(2):
        assert largest_error(module(feeds), expected) <= TOLERANCES.get(name, 1e-5)


@pytest.mark.parametrize(("name", "form"), marked([*QUICK, *SLOW], QUICK_MODELS))
def test_real_models(name, form, make, shared_model):
    path = shared_model(f"{name}.onnx")
    module = make(path, form, SHAPES.get(name))
    feeds = random_inputs(module.inputs, 3, RANGES.get(name))
    expected = run_reference(onnx.load(path), feeds)
    for ours, theirs in zip(module(feeds), expected, strict=True):
        assert ours.shape == theirs.shape
        scale = max(np.abs(theirs).max(initial=0), 1e-30)
        assert np.abs(ours - theirs).max(initial=0) / scale <= 1e-4
