"""Default schedules of ordinary operators: what no pass of the project has scheduled itself.

TVM's own default for processors is a plain loop nest, 30 to 80 times slower than a good library.
"""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.s_tir import dlight

from dcc.schedules.cpu.loops import ParallelLoops
from dcc.schedules.cpu.tiled import RegisterTiles
from dcc.schedules.guarded_rule import SCHEDULE, GuardedRule
from dcc.targets.target import Target

NO_SCHEDULE = "none"


def default_rules(target: Target) -> list[dlight.ScheduleRule]:
    """Make the rules for ``target``, preferred ones first; what none takes stays as it is."""
    return [
        GuardedRule(RegisterTiles(target.vector_floats), "tiled"),
        GuardedRule(ParallelLoops(), "loops"),
    ]


def apply_default_schedules(module: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Schedule every PrimFunc of ``module`` that is not marked ``tirx.is_scheduled``."""
    with target.tvm_target():
        # The pass writes into the module it is given.
        return dlight.ApplyDefaultSchedule(*default_rules(target))(module.clone())


def kernel_schedules(module: tvm.IRModule) -> dict[str, str]:
    """Name the schedule of each kernel of a lowered module; see :data:`SCHEDULE`."""
    return {
        variable.name_hint: str(function.attrs.get(SCHEDULE, NO_SCHEDULE))
        for variable, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
