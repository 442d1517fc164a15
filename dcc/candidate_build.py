"""From a candidate of the tuner to a shared library, by the passes that compile models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir import StringImm

from dcc.build import lower_and_build
from dcc.codegen.section import WeightSection
from dcc.estimation import estimate_module, one_core
from dcc.layer_task import load_layer
from dcc.passes.pipeline import Pipeline, legalization_steps
from dcc.passes.select_storage import SelectStorage
from dcc.schedules.tuning.candidate import Candidate
from dcc.schedules.tuning.decision import Decision
from dcc.schedules.tuning.estimates import write_estimate
from dcc.schedules.tuning.evaluation import LAYER, check_answer
from dcc.targets.target import Target


@dataclass(frozen=True)
class CandidateBuild:
    """Builds candidates of the layers that stand in ``folder``; travels to worker processes.

    Attributes
    ----------
    target
        Arguments of :class:`dcc.targets.target.Target`.
    """

    folder: str
    target: Mapping[str, Any]

    def __call__(self, layer: str, candidate: Candidate, output: Path) -> None:
        """Write the library: functions ``main``, ``decode`` where it is needed, and ``layer``."""
        target = Target(**self.target)
        module = named(candidate_module(self.folder, layer, candidate, target), layer)
        lower_and_build(module, target, WeightSection(), {}, output)


@dataclass(frozen=True)
class CandidateEstimate:
    """Estimates candidates instead: cycles by llvm-mca, the answer checked under emulation.

    What it writes in the place of a library is read by ``schedules.tuning.estimates``.
    """

    folder: str
    target: Mapping[str, Any]

    def __call__(self, layer: str, candidate: Candidate, output: Path) -> None:
        """Write the estimate of a candidate."""
        target = one_core(Target(**self.target))
        module = candidate_module(self.folder, layer, candidate, target, at_load=False)
        with np.load(Path(self.folder) / f"{layer}.npz") as arrays:
            data = [arrays[name] for name in sorted(arrays) if name.startswith("data")]
            expected = [arrays[name] for name in sorted(arrays) if name.startswith("expected")]
        found = estimate_module(module, target, data)
        check_answer(found.outputs, expected)
        write_estimate(output, found.nanoseconds * 1e-9)


def candidate_module(
    folder: str, layer: str, candidate: Candidate, target: Target, *, at_load: bool = True
) -> tvm.IRModule:
    """Run the passes that compile models on a layer, with the candidate chosen."""
    module, table = load_layer(Path(folder) / f"{layer}.layer")
    chosen = SelectStorage(table, target, tuned=lambda *_: Decision(candidate, "candidate"))
    steps = [chosen, *legalization_steps(table, target, at_load=at_load)]
    return Pipeline(table, target, check=False).run(module, steps)


def named(module: tvm.IRModule, layer: str, **more: str) -> tvm.IRModule:
    """Add a function that says which layer this is: a runner sees nothing but the library.

    So do functions of the names in ``more``.
    """
    result = tvm.IRModule(dict(module.functions_items()), module.attrs)
    for name, text in {LAYER: layer, **more}.items():
        builder = relax.BlockBuilder()
        with builder.function(name, []):
            builder.emit_func_output(StringImm(text))
        result[name] = builder.get()[name]
    return result
