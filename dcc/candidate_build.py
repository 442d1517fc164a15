"""From a candidate of the tuner to a shared library, by the passes that compile models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.ir import StringImm

from dcc.build import lower_and_build
from dcc.codegen.section import WeightSection
from dcc.layer_task import load_layer
from dcc.passes.pipeline import Pipeline, legalization_steps
from dcc.passes.select_storage import SelectStorage
from dcc.schedules.tuning.candidate import Candidate
from dcc.schedules.tuning.decision import Decision
from dcc.schedules.tuning.evaluation import LAYER
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
        module, table = load_layer(Path(self.folder) / f"{layer}.layer")
        target = Target(**self.target)
        chosen = SelectStorage(table, target, tuned=lambda *_: Decision(candidate, "candidate"))
        steps = [chosen, *legalization_steps(table, target)]
        module = Pipeline(table, target, check=False).run(module, steps)
        module = named(module, layer)
        lower_and_build(module, target, WeightSection(), {}, output)


def named(module: tvm.IRModule, layer: str) -> tvm.IRModule:
    """Add a function that says which layer this is: a runner sees nothing but the library."""
    builder = relax.BlockBuilder()
    with builder.function(LAYER, []):
        builder.emit_func_output(StringImm(layer))
    result = tvm.IRModule(dict(module.functions_items()), module.attrs)
    result[LAYER] = builder.get()[LAYER]
    return result
