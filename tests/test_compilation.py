"""Whole small models through ``compress`` and ``compile`` in every storage form, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from coded_models import CASES, FORMS
from onnx_models import largest_error, run_reference

import dcc


def run(compiled, feeds):
    return compiled(*[feeds[spec["name"]] for spec in compiled.metadata["inputs"]])


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
    assert largest_error(run(compiled, feeds), expected) <= 1e-5
    assert np.isfinite(run(compiled, feeds)[0]).all()
