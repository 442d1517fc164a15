"""Default schedules of ordinary operators: what no pass of the project has scheduled itself.

TVM's own default for processors is a plain loop nest, 30 to 80 times slower than a good library.
"""

from __future__ import annotations

import tvm
from tvm.s_tir import dlight

from dcc.schedules.cpu.loops import ParallelLoops
from dcc.schedules.cpu.tiled import RegisterTiles
from dcc.schedules.guarded_rule import GuardedRule
from dcc.targets.target import Target


def default_rules(target: Target) -> list[dlight.ScheduleRule]:
    """Make the rules for ``target``, preferred ones first; what none takes stays as it is."""
    return [GuardedRule(RegisterTiles(target.vector_floats)), GuardedRule(ParallelLoops())]


def apply_default_schedules(module: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Schedule every PrimFunc of ``module`` that is not marked ``tirx.is_scheduled``."""
    with target.tvm_target():
        # The pass writes into the module it is given.
        return dlight.ApplyDefaultSchedule(*default_rules(target))(module.clone())
