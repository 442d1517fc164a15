"""Helpers shared by all tests."""

from __future__ import annotations

import subprocess
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import settings

from dcc.targets.cuda import find_card
from dcc.targets.toolchain import find_compiler

# A busy machine is no error of a test.
settings.register_profile("dcc", deadline=None)
settings.load_profile("dcc")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def shared_folder() -> Path:
    """Folder of real models and data beside the repository; skips the test where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED.name} beside the repository")
    return SHARED


def shared_model(name: str) -> Path:
    """Path of a real model; skips the test where it is absent."""
    path = shared_folder() / "models" / name
    if not path.is_file():
        pytest.skip(f"the shared models lack {name}")
    return path


def pytest_addoption(parser):
    parser.addoption(
        "--slow", action="store_true", help="also run the full matrix of models and storage forms"
    )
    parser.addoption("--part", metavar="K/N", help="run every N-th test, from the K-th on")


def pytest_collection_modifyitems(config, items):
    if part := config.getoption("--part"):
        which, parts = map(int, part.split("/"))
        chosen = [crc32(item.nodeid.encode()) % parts == which - 1 for item in items]
        left_out = [item for item, taken in zip(items, chosen, strict=True) if not taken]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item, taken in zip(items, chosen, strict=True) if taken]
    on_card = [item for item in items if "gpu" in item.keywords]
    if on_card and find_card() is None:
        for item in on_card:
            item.add_marker(pytest.mark.skip(reason="this machine has no CUDA card"))
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="part of the full matrix: --slow runs it"))


@pytest.fixture(name="shared_folder")
def _shared_folder() -> Path:
    return shared_folder()


@pytest.fixture(name="shared_model")
def _shared_model():
    return shared_model


@pytest.fixture
def shared_path() -> Path:
    """Folder of real models and data, which may be absent: for tests that also run without."""
    return SHARED


@pytest.fixture(name="vta_driver_library", scope="session")
def _vta_driver_library(tmp_path_factory):
    """A shared library with VTA's driver functions."""
    source = Path(__file__).with_name("vta_driver.c")
    path = tmp_path_factory.mktemp("driver") / "libvta_test.so"
    command = [find_compiler(), "-x", "c++", "-fpermissive", "-w", "-O2", "-shared", "-fPIC"]
    # The file is C; C linkage keeps the names as they are.
    wrapped = path.with_suffix(".cc")
    wrapped.write_text(f'extern "C" {{\n#include "{source}"\n}}\n')
    subprocess.run([*command, str(wrapped), "-o", str(path)], check=True)
    return path
