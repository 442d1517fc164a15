"""Helpers shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

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


def pytest_collection_modifyitems(config, items):
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
