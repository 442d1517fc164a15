"""A rule that steps back where one of its steps turns out to be impossible."""

from __future__ import annotations

import logging

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight

SCHEDULE = "dcc.schedule"
"""Attribute of a kernel: the name of its schedule, that of its module here."""
_log = logging.getLogger(__name__)


class GuardedRule(dlight.ScheduleRule):
    """``rule``, but for errors: then the next rule of the list has its turn.

    Kernels get the attribute :data:`SCHEDULE`, ``name``. A schedule that ``lowering`` cannot lower
    counts as an error.
    """

    def __init__(
        self,
        rule: dlight.ScheduleRule,
        name: str,
        lowering: tvm.transform.Pass | None = None,
    ) -> None:
        self._rule = rule
        self._name = name
        self._lowering = lowering

    def apply(
        self, func: tirx.PrimFunc, target: tvm.target.Target, tunable: bool
    ) -> s_tir.Schedule | None:
        """Schedule ``func``, or return None."""
        try:
            schedule = self._rule.apply(func, target, tunable)
            if schedule is None:
                return None
            if self._lowering is not None:
                self._lowering(schedule.mod)
            return s_tir.Schedule(schedule.mod["main"].with_attr(SCHEDULE, self._name))
        except (s_tir.schedule.ScheduleError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()
            _log.debug(
                "%s declines: %s", type(self._rule).__name__, reason[-1] if reason else error
            )
            return None
