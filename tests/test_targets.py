import subprocess
import sys

import pytest

from dcc.errors import CompileError, TargetError
from dcc.targets import processor
from dcc.targets.registry import get_target, list_targets, registered
from dcc.targets.target import vector_floats
from dcc.targets.toolchain import find_compiler, run_compiler


def test_every_target_is_one_that_tvm_knows():
    for target in list_targets():
        made = target.tvm_target()
        assert made.kind.name == target.kind
        assert (target.kind == "cuda") == (target.gpu is not None)
        assert target.describe()["features"] == sorted(target.required_features)
        assert target.vector_floats in ((4, 8, 16) if target.gpu is None else (1,))
        assert target.cores >= 1


def test_levels_of_x86_have_their_features_for_llvm_too():
    from tvm.target import codegen

    for name in ("x86-64-v3", "x86-64-v4"):
        target = get_target(name)
        assert target.features <= set(codegen.llvm_get_cpu_features(target.tvm_target()))
        assert vector_floats(target.features) == target.vector_floats


def test_the_host_asks_for_nothing_that_the_host_lacks():
    present = processor.cpu_features()
    if present is None:
        pytest.skip("this system does not tell its processor's features")
    assert set(get_target("host").required_features) <= present


def test_unknown_target_names_the_nearest():
    with pytest.raises(TargetError, match=r"'x86-64-v5'; did you mean 'x86-64-v[34]'\?.*host"):
        get_target("x86-64-v5")


def test_a_target_registered_for_a_while():
    from dataclasses import replace

    mine = replace(get_target("host"), name="my-board", description="a board of mine")
    with registered(mine):
        assert get_target("my-board") is mine
        assert mine in list_targets()
        with pytest.raises(TargetError, match="a target 'my-board' already"), registered(mine):
            pass
        with pytest.raises(TargetError, match=r"did you mean 'my-board'\?"):
            get_target("my-bord")
    with pytest.raises(TargetError, match="there is no target 'my-board'"):
        get_target("my-board")
    taken = pytest.raises(TargetError, match="a target 'host' already")
    with taken, registered(replace(mine, name="host")):
        pass


def test_vector_width_follows_the_features():
    assert vector_floats(frozenset({"avx2", "avx512f"})) == 16
    assert vector_floats(frozenset({"avx", "avx2"})) == 8
    assert vector_floats(frozenset({"neon"})) == 4


def test_features_are_found_without_the_compiler():
    code = "from dcc.targets.processor import cpu_features; cpu_features(); import sys; assert 'tvm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_features_of_an_unknown_system(monkeypatch):
    monkeypatch.setattr(processor, "_flags_of_linux", set)
    monkeypatch.setattr(processor.platform, "system", lambda: "Plan 9")
    assert processor.cpu_features.__wrapped__() is None


def test_missing_compiler_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match=r"no C\+\+ compiler was found .*install one"):
        find_compiler()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TargetError, match=r"'no-such-compiler'.*CXX"):
        find_compiler()


def test_failing_compiler_shows_what_it_said(tmp_path):
    source = tmp_path / "wrong.cc"
    source.write_text("this is no program")
    with pytest.raises(CompileError, match=r"failed while testing"):
        run_compiler(["-c", source, "-o", tmp_path / "wrong.o"], "testing")
