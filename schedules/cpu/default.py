"""Default schedules of ordinary operators: what no pass of the project has scheduled itself.

TVM's own default for processors is a plain loop nest, 30 to 80 times slower than a good library.
"""

from __future__ import annotations

import logging

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from dcc.schedules.cpu.loops import ParallelLoops
from dcc.schedules.cpu.tiled import RegisterTiles
from dcc.targets.target import Target

SCHEDULE = "dcc.schedule"
"""Attribute of a kernel: the name of its schedule, that of its module here."""
NO_SCHEDULE = "none"
_log = logging.getLogger(__name__)


class _Guarded(dlight.ScheduleRule):
    """A rule that steps back where one of its steps turns out to be impossible."""

    def __init__(self, rule: dlight.ScheduleRule, name: str) -> None:
        self._rule = rule
        self._name = name

    def apply(
        self, func: tirx.PrimFunc, target: tvm.target.Target, tunable: bool
    ) -> s_tir.Schedule | None:
        try:
            schedule = self._rule.apply(func, target, tunable)
            if schedule is None:
                return None
            return s_tir.Schedule(schedule.mod["main"].with_attr(SCHEDULE, self._name))
        except (s_tir.schedule.ScheduleError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()
            _log.debug(
                "%s declines: %s", type(self._rule).__name__, reason[-1] if reason else error
            )
            return None


def default_rules(target: Target) -> list[dlight.ScheduleRule]:
    """Make the rules for ``target``, preferred ones first; what none takes stays as it is."""
    return [
        _Guarded(RegisterTiles(target.vector_floats), "tiled"),
        _Guarded(ParallelLoops(), "loops"),
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
