"""Passes of others at named points of the pipeline, and the pipeline's order."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest
import tvm
from coded_models import data, model_of, node, weight
from onnx_models import largest_error, run_reference

import dcc
from dcc.errors import CompileError
from dcc.passes import hooks
from dcc.passes.hooks import POINTS, HookContext, passes_at
from dcc.passes.options import Recipe
from dcc.passes.pipeline import binding_steps, compilation_steps, compression_steps
from dcc.passes.weight_table import WeightTable
from dcc.targets.registry import get_target


@pytest.fixture
def model():
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    return model_of(nodes, {"x": data(2, 24)}, {"w": weight(24, 17)})


SEEN: list[tuple[str, str | None]] = []


def watching(context: HookContext):
    """A pass that changes nothing and notes where it ran."""

    @tvm.transform.module_pass(opt_level=0, name="test.Watch")
    def watch(module, _context):
        SEEN.append((context.point, context.target and context.target.name))
        return module

    return watch


def test_every_point_is_reached_once_in_order(model, monkeypatch):
    SEEN.clear()
    for point in POINTS:
        monkeypatch.setitem(hooks._registered, point, [watching])
    dcc.compile(model[0])
    assert [point for point, _ in SEEN] == list(POINTS)
    assert {name for _, name in SEEN} == {get_target("host").name}
    SEEN.clear()
    container = dcc.compress(model[0])
    assert SEEN == [("after_import", None), ("after_masks", None), ("after_sharing", None)]
    SEEN.clear()
    dcc.compile(container)
    assert [point for point, _ in SEEN] == [point for point in POINTS if point != "after_masks"]


def test_a_pass_may_change_the_weights(model):
    """A registered pass sees the table: here it drops the weight's largest values."""

    def clipping(context: HookContext):
        @tvm.transform.module_pass(opt_level=0, name="test.Clip")
        def clip(module, _context):
            context.table.arrays["w"] = np.clip(context.table.arrays["w"], -0.5, 0.5)
            return module

        return clip

    proto, feeds = model
    with hooks.registered("after_import", clipping):
        compiled = dcc.compile(proto)
    assert "after_import" not in hooks._registered or not hooks._registered["after_import"]
    changed = model_of(list(proto.graph.node), feeds, {"w": np.clip(weight(24, 17), -0.5, 0.5)})[0]
    assert largest_error(compiled(feeds["x"]), run_reference(changed, feeds)) <= 1e-5


def test_unregister(model):
    SEEN.clear()
    hooks.register("after_import", watching)
    hooks.unregister("after_import", watching)
    dcc.compress(model[0])
    assert SEEN == []


def test_unknown_points_are_refused():
    with pytest.raises(CompileError, match="no point 'after_lunch', expected one of after_import"):
        hooks.register("after_lunch", watching)
    with pytest.raises(CompileError, match="no point 'after_lunch'"):
        hooks.unregister("after_lunch", watching)


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages with these entry points are installed."""

    def install(**entries):
        found = [
            EntryPoint(name.replace("__", "."), value, hooks.GROUP)
            for name, value in entries.items()
        ]
        monkeypatch.setattr(
            hooks, "entry_points", lambda group: found if group == hooks.GROUP else []
        )

    return install


def test_entry_points_run_before_registered_passes_by_name(installed, monkeypatch):
    called: list[str] = []
    factories = {name: lambda _, name=name: called.append(name) for name in ("one", "two", "own")}
    monkeypatch.setitem(sys.modules, "some_package", SimpleNamespace(**factories))
    installed(after_rewrite__b="some_package:two", after_rewrite__a="some_package:one")
    with hooks.registered("after_rewrite", factories["own"]):
        passes_at(HookContext("after_rewrite", WeightTable({}, {})))
    assert called == ["one", "two", "own"]
    assert passes_at(HookContext("after_import", WeightTable({}, {}))) == []


def test_entry_points_with_faults_are_named(installed):
    context = HookContext("after_import", WeightTable({}, {}))
    installed(nowhere__a="some_package:one")
    with pytest.raises(
        CompileError, match=r"entry point 'nowhere.a' of some_package:one.*'nowhere'"
    ):
        passes_at(context)
    installed(after_import="no_such_package:thing")
    with pytest.raises(CompileError, match=r"entry point .after_import. .* cannot be loaded"):
        passes_at(context)


def test_the_order_of_the_passes():
    table, host = WeightTable({}, {}), get_target("host")

    def names(steps):
        return [step if isinstance(step, str) else step.info.name for step in steps]

    assert names(compression_steps(table, Recipe())) == [
        "after_import", "dcc.InjectPruningMasks", "after_masks", "dcc.ShareWeights", "after_sharing",
    ]  # fmt: skip
    assert names(binding_steps(table, {})) == [
        "after_import", "dcc.BindEncodedWeights", "after_sharing",
    ]  # fmt: skip
    assert names(compilation_steps(table, host, "auto", "latency")) == [
        "dcc.RewriteToCodebook", "dcc.BindPlainWeights", "dcc.FuseEpilogue", "after_rewrite",
        "dcc.SelectStorage", "after_selection", "dcc.LegalizeCodedLayers", "dcc.FoldHuffmanDecode",
        "dcc.OutlineBranches", "after_legalize",
    ]  # fmt: skip
