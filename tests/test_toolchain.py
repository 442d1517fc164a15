"""Compilers for other architectures: which is taken, and what is said where there is none."""

import sys

import pytest

from dcc.errors import TargetError
from dcc.targets import processor, registry, toolchain
from dcc.targets.emulation import emulator_for
from dcc.targets.registry import get_target
from dcc.targets.target import Target
from dcc.targets.toolchain import compiler_for, objects_triple

TRIPLE, ANDROID = "aarch64-linux-gnu", "aarch64-linux-android"


@pytest.fixture(autouse=True)
def _nothing_there(monkeypatch, tmp_path):
    """A machine of another architecture without any cross compiler."""
    monkeypatch.setattr(toolchain, "architecture", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda _name: None)
    for name in ("CXX_aarch64_linux_gnu", "CXX_aarch64_linux_android", *toolchain._NDK_VARIABLES):
        monkeypatch.delenv(name, raising=False)


def program(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_none_is_one_clear_error():
    with pytest.raises(TargetError, match=r"aarch64-linux-gnu-g\+\+ .*pip install ziglang.*CXX_"):
        compiler_for(TRIPLE)
    with pytest.raises(TargetError, match=r"aarch64-linux-android was found: set ANDROID_NDK_HOME"):
        compiler_for(ANDROID)


def test_order_of_preference(monkeypatch, tmp_path):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda _name: object())
    assert compiler_for(TRIPLE) == (
        sys.executable,
        "-m",
        "ziglang",
        "c++",
        "-target",
        f"{TRIPLE}.2.28",
    )
    with pytest.raises(TargetError, match="NDK"):  # Zig lacks Android's C library
        compiler_for(ANDROID)
    gnu = program(tmp_path, f"{TRIPLE}-g++")
    assert compiler_for(TRIPLE) == (gnu,)
    own = program(tmp_path, "my-clang")
    monkeypatch.setenv("CXX_aarch64_linux_gnu", "my-clang --target=aarch64-linux-gnu")
    assert compiler_for(TRIPLE) == (own, "--target=aarch64-linux-gnu")
    monkeypatch.setenv("CXX_aarch64_linux_gnu", "gone")
    with pytest.raises(TargetError, match=r"'gone' \(variable CXX_aarch64_linux_gnu\)"):
        compiler_for(TRIPLE)


def test_the_ndk_is_found_by_its_folder(monkeypatch, tmp_path):
    name = f"toolchains/llvm/prebuilt/linux-x86_64/bin/{ANDROID}24-clang++"
    compiler = program(tmp_path / "ndk", name)
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(tmp_path / "ndk"))
    assert compiler_for(ANDROID) == (compiler,)


def test_a_folder_that_is_no_ndk_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "gone"))
    with pytest.raises(TargetError, match=r"gone' \(variable ANDROID_NDK_HOME\) is no NDK"):
        compiler_for(ANDROID)


def test_objects_for_android_need_no_ndk(monkeypatch, tmp_path):
    with pytest.raises(TargetError, match="package g"):
        objects_triple(ANDROID)
    program(tmp_path, f"{TRIPLE}-g++")
    assert objects_triple(ANDROID) == objects_triple(TRIPLE) == TRIPLE
    program(tmp_path / "ndk", f"toolchains/llvm/prebuilt/linux-x86_64/bin/{ANDROID}24-clang++")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "ndk"))
    assert objects_triple(ANDROID) == ANDROID


def test_missing_emulator_is_one_clear_error(monkeypatch, tmp_path):
    with pytest.raises(TargetError, match="the package qemu-user"):
        emulator_for(TRIPLE)
    with pytest.raises(TargetError, match="Android's C library is missing"):
        emulator_for(ANDROID)
    program(tmp_path, "qemu-aarch64")
    monkeypatch.setenv("QEMU_LD_PREFIX", "/somewhere")
    assert emulator_for(TRIPLE) == (str(tmp_path / "qemu-aarch64"),)


class Entry:
    def __init__(self, name, made):
        self.name, self.value, self.made = name, "package:function", made

    def load(self):
        return self.made


def board(name="my-board"):
    return Target(name, "", {"kind": "llvm", "mtriple": TRIPLE}, frozenset({"neon"}), 4, 2)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (board, None),
        (lambda: board("other"), "gave a target named 'other'"),
        (lambda: 7, "gave int, not a"),
        (lambda: 1 / 0, r"failed \(ZeroDivisionError"),
    ],
)
def test_targets_of_other_packages(monkeypatch, made, expected):
    entries = [Entry("my-board", made), Entry("host", made)]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    if expected is None:
        assert get_target("my-board").features == {"neon"}
        assert get_target("host").name == "host"
        assert registry.list_targets()[-1].name == "my-board"
        return
    with pytest.raises(TargetError, match=expected):
        get_target("my-board")


def test_data_of_the_cores():
    from tvm.target import codegen

    for name, clock, bandwidth in [
        ("arm-cortex-a53", 1.4, 4),
        ("arm-cortex-a72", 1.8, 5),
        ("arm-cortex-a76", 2.4, 10),
        ("arm-neoverse-n1", 3.0, 20),
    ]:
        target = get_target(name)
        assert (target.pipeline.clock, target.memory_bandwidth) == (clock, bandwidth)
        assert target.features <= set(codegen.llvm_get_cpu_features(target.tvm_target()))
        assert target.features <= processor.CHECKABLE_FEATURES
