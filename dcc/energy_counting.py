"""The energy proxy of a model in a storage form, without generating its code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from dcc.build import schedule_kernels
from dcc.codegen.work import ModuleWork
from dcc.compressed_module import Source, compressed_module
from dcc.energy import ModuleEnergy, energy_of_work
from dcc.errors import CompileError
from dcc.passes.count_work import count_work
from dcc.passes.pipeline import compilation_steps
from dcc.passes.select_storage import check_choice
from dcc.targets.registry import get_target
from dcc.targets.target import Target

if TYPE_CHECKING:
    from dcc.passes.options import Recipe


def model_energy(
    source: Source,
    target: str | Target = "host",
    recipe: str | PathLike[str] | Recipe | None = None,
    storage: str = "auto",
    objective: str = "latency",
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    resident: bool = False,
) -> ModuleEnergy:
    """Energy proxy of one run of a model; see :func:`dcc.compile` and :func:`module_energy`.

    The kernels are scheduled and counted as for a module, but none is built: no compiler for the
    target is needed. Weights of the dense form count as they stand in memory.

    Raises
    ------
    CompileError
        The target has an accelerator: its streams are made when a module is compiled.
    ModelError, ContainerError, RecipeError, TargetError
        As :func:`dcc.compile`.
    """
    device = target if isinstance(target, Target) else get_target(target)
    work, forms = model_work(source, device, recipe, storage, objective, shapes)
    return energy_of_work(device.name, work, forms, resident=resident)


def model_work(
    source: Source,
    target: Target,
    recipe: str | PathLike[str] | Recipe | None = None,
    storage: str = "auto",
    objective: str = "latency",
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> tuple[ModuleWork, dict[str, str]]:
    """Count a model; returns the counts and the storage form of each layer.

    Raises as :func:`model_energy`.
    """
    check_choice(storage, objective)
    if target.accelerator is not None:
        raise CompileError(
            f"target '{target.name}' has an accelerator: compile a module and count that"
        )
    prepared = compressed_module(source, target, recipe, shapes)
    table = prepared.table
    steps = compilation_steps(table, target, storage, objective, None, at_load=False)
    module = schedule_kernels(prepared.pipeline.run(prepared.module, steps), target)
    forms = {
        name: ", ".join(dict.fromkeys(form for form, _ in choices))
        for name, choices in table.choices.items()
    }
    return count_work(module, target), forms
