"""What MetaSchedule sees of a layer: a stub function whose block bears the candidate.

The stub has data and result only. A schedule of it annotates its block with the storage form and,
for each tunable, the number of a value, drawn by ``sample_categorical``; the packed weight, which
depends on these, is made when a candidate is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tvm
from tvm import te
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace

from dcc.codegen.weight_matrix import FORMS, Form
from dcc.schedules.tuning.candidate import Candidate, Space

LAYER_KEY = "dcc.layer"
STORAGE = "dcc.storage"
FORM = "dcc.form"
CANDIDATE = "dcc.candidate"
BLOCK = "result"


def stub_module(space: Space, key: str, storage: str) -> tvm.IRModule:
    """Make the stub of the layer ``key``, whose space has the storage form asked for."""
    columns = te.placeholder((space.weight.columns,), "float32", "data")
    axis = te.reduce_axis((0, space.weight.columns))
    rows = te.compute((space.weight.rows,), lambda _: te.sum(columns[axis], axis), BLOCK)
    function = te.create_prim_func([columns, rows]).with_attr("global_symbol", "main")
    function = function.with_attr(LAYER_KEY, key).with_attr(STORAGE, storage)
    return tvm.IRModule({"main": function})


def design_space(space: Space) -> Callable[[Schedule], list[Schedule]]:
    """Make the function that draws candidates: one design space for each storage form."""

    def draw(schedule: Schedule) -> list[Schedule]:
        return [_annotated(schedule, space, form) for form in space.forms]

    return draw


def schedule_of(space: Space, module: tvm.IRModule, candidate: Candidate, seed: int) -> Schedule:
    """Return the schedule of one candidate."""
    schedule = Schedule(module, seed=seed)
    return _annotated(schedule, space, candidate.form, dict(candidate.values))


def _annotated(
    schedule: Schedule,
    space: Space,
    form: Form,
    values: Mapping[str, object] | None = None,
) -> Schedule:
    schedule = schedule.copy()
    block = schedule.get_sblock(BLOCK)
    schedule.annotate(block, FORM, FORMS.index(form))
    for name, choices in space.forms[form].items():
        numbers = list(range(len(choices)))
        decision = None if values is None else choices.index(values[name])
        number = schedule.sample_categorical(numbers, [1 / len(numbers)] * len(numbers), decision)
        schedule.annotate(block, f"dcc.{name}", number)
    return schedule


def candidate_of(trace: Trace, space: Space) -> Candidate:
    """Read the candidate that a trace draws."""
    drawn = [inst for inst in trace.insts if inst.kind.name == "SampleCategorical"]
    noted = next(inst for inst in trace.insts if inst.kind.name == "Annotate")
    form = FORMS[int(noted.inputs[1])]
    numbers = [int(trace.decisions[instruction]) for instruction in drawn]
    values = zip(space.forms[form].items(), numbers, strict=True)
    return Candidate(form, tuple((name, choices[number]) for (name, choices), number in values))


def candidate_on(module: tvm.IRModule, space: Space) -> Candidate:
    """Read the candidate that the block of a scheduled stub bears."""
    schedule = Schedule(module)
    annotations = schedule.get(schedule.get_sblock(BLOCK)).annotations
    form = FORMS[int(annotations[FORM])]
    values = tuple(
        (name, choices[int(annotations[f"dcc.{name}"])])
        for name, choices in space.forms[form].items()
    )
    return Candidate(form, values)
