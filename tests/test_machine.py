"""How many threads a module gets."""

import os
import subprocess
import sys

import pytest

from dcc.machine import available_cores, available_processors

PROGRAM = """
import os, sys
if hasattr(os, "sched_setaffinity"):  # the parent's may be narrower: TVM places its threads
    os.sched_setaffinity(0, range(os.cpu_count()))
from dcc.tvm_library import load_runtime_library
load_runtime_library()
print(os.environ.get("TVM_NUM_THREADS"))
"""


ALL = """
import os
from dcc.machine import available_cores
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, range(os.cpu_count()))
print(available_cores())
"""


def threads_of(program: str = PROGRAM, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("TVM_NUM_THREADS", "OMP_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", program], env=kept | environment, capture_output=True, text=True
    ).stdout.strip()


def test_a_core_counts_once():
    assert 1 <= available_cores() <= available_processors()


def test_hyperthreads_share_a_core(monkeypatch):
    monkeypatch.setattr("dcc.machine._core_of", lambda processor: str(processor // 2))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cores() == 4


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TVM_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "3"}, "None"),  # TVM asks for it itself
    ],
)
def test_a_module_gets_a_thread_a_core_unless_the_environment_says(environment, expected):
    assert threads_of(**environment) == (expected or threads_of(ALL))
