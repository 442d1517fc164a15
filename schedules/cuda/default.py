"""Schedules of ordinary operators on processors of many threads: TVM's DLight rules."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight

from dcc.schedules.guarded_rule import GuardedRule
from dcc.targets.target import Target


def default_rules() -> list[dlight.ScheduleRule]:
    """Make the rules, preferred ones first; the last one takes every loop nest."""
    gpu = dlight.gpu
    rules = {
        "dlight.matmul": gpu.Matmul(),
        "dlight.gemv": gpu.GEMV(),
        "dlight.reduction": gpu.Reduction(),
        "dlight.general_reduction": gpu.GeneralReduction(),
        "dlight.fallback": gpu.Fallback(),
    }
    # Reductions across threads are the part of a schedule that its lowering may still refuse.
    passes = s_tir.transform
    lowering = tvm.transform.Sequential(
        [passes.CanonicalizeLoop(), passes.LowerCrossThreadReduction()]
    )
    return [GuardedRule(rule, name, lowering) for name, rule in rules.items()]


def apply_rules(function: tirx.PrimFunc, target: Target, name: str) -> tirx.PrimFunc:
    """Schedule one function, which is called ``name`` from then on."""
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    with target.tvm_target():
        scheduled = dlight.ApplyDefaultSchedule(*default_rules())(module)["main"]
    return scheduled.with_attr("global_symbol", name)


def apply_default_schedules(module: tvm.IRModule, target: Target) -> tvm.IRModule:
    """Schedule every PrimFunc of ``module`` that is not marked ``tirx.is_scheduled``."""
    with target.tvm_target():
        # The pass writes into the module it is given.
        return dlight.ApplyDefaultSchedule(*default_rules())(module.clone())
