"""A small layer to tune, and a builder that goes wrong on purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from coded_models import data, model_of, node, weight

from dcc.candidate_build import CandidateBuild
from dcc.compressed_module import compressed_module
from dcc.layer_task import layer_tasks
from dcc.passes.pipeline import rewriting_steps
from dcc.schedules.tuning.evaluation import write_example
from dcc.targets.registry import get_target
from dcc.targets.target import Target

HOST = get_target("host")
CRASH = "__attribute__((constructor)) static void crash() { *(volatile int*)0 = 0; }"


def small_model(density=0.15):
    """One product with a sparse weight, 64 columns and 32 rows."""
    model, feeds = model_of(
        [node("MatMul", ["x", "w"], ["y"])],
        {"x": data(1, 64)},
        {"w": weight(64, 32, density=density, seed=3)},
    )
    return model, feeds["x"]


def tasks_of(model):
    prepared = compressed_module(model, HOST)
    module = prepared.pipeline.run(prepared.module, rewriting_steps(prepared.table))
    return layer_tasks(module, prepared.table)


def write_task(task, folder: Path, name="layer0"):
    task.save(folder / f"{name}.layer")
    inputs, expected = task.example(0)
    write_example(folder / f"{name}.npz", inputs, expected)
    task.save(folder / "wrong.layer")
    write_example(folder / "wrong.npz", inputs, [np.asarray(each) + 1 for each in expected])


def builds(folder: Path) -> CandidateBuild:
    facts = {field.name: getattr(HOST, field.name) for field in fields(Target)}
    return CandidateBuild(str(folder), facts | {"options": dict(HOST.options)})


@dataclass(frozen=True)
class FaultyBuild:
    """Goes wrong in its own way for each value of ``in_flight``."""

    inner: CandidateBuild

    def __call__(self, layer, candidate, output):
        fault = dict(candidate.values).get("in_flight")
        if fault == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault == 2:
            raise ValueError("no such kernel")
        if fault == 3:
            time.sleep(1000)
        if fault == 4:
            source = output.with_suffix(".c")
            source.write_text(CRASH)
            subprocess.run(["c++", "-x", "c", "-shared", "-fPIC", source, "-o", output], check=True)
            return
        self.inner("wrong" if fault == 6 else layer, candidate, output)
