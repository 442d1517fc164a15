"""Time of a model on a core that is not here, kernel by kernel: see ``schedules.mca``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tvm

from dcc.build import lower_to_kernels
from dcc.compressed_module import Source, compressed_module
from dcc.passes.call_sequence import TensorValue, call_sequence
from dcc.passes.legalize_coded_layers import kernel_layers
from dcc.passes.pipeline import compilation_steps
from dcc.passes.select_storage import check_choice
from dcc.schedules.mca.estimate import KernelEstimate, estimate_kernel
from dcc.targets.registry import get_target
from dcc.targets.target import Target
from dcc.tuning_database import look_up

if TYPE_CHECKING:
    from dcc.passes.options import Recipe

Array = npt.NDArray[np.generic]


@dataclass
class ModelEstimate:
    """One run of a model on one core.

    Attributes
    ----------
    kernels
        Name and estimate of each kernel, in the order of the calls.
    outputs
        What the model answered under emulation.
    forms
        Storage form of each layer.
    layers
        Layer of each kernel that computes one.
    """

    kernels: list[tuple[str, KernelEstimate]] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    forms: dict[str, str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)

    @property
    def nanoseconds(self) -> float:
        """Of all kernels, one after another."""
        return sum(estimate.nanoseconds for _, estimate in self.kernels)


def estimate(
    source: Source,
    inputs: Mapping[str, Array],
    target: str | Target,
    recipe: str | PathLike[str] | Recipe | None = None,
    storage: str = "auto",
    objective: str = "latency",
    shapes: Mapping[str, Sequence[int]] | None = None,
    database: str | PathLike[str] | None = None,
) -> ModelEstimate:
    """Estimate the time of a model; see :func:`dcc.compile` for the parameters.

    Weights of the dense form count as they stand in memory.

    Raises
    ------
    TargetError
        The target has no model of a core, or a tool is missing.
    CompileError
        The model needs TVM's runtime: branches, shapes that are not fixed.
    """
    check_choice(storage, objective)
    device = one_core(target if isinstance(target, Target) else get_target(target))
    tuned = None if database is None else look_up(database, device)
    prepared = compressed_module(source, device, recipe, shapes)
    steps = compilation_steps(prepared.table, device, storage, objective, tuned, at_load=False)
    module = prepared.pipeline.run(prepared.module, steps)
    data = [np.asarray(inputs[spec.name]) for spec in prepared.imported.inputs]
    result = estimate_module(module, device, data)
    result.forms = {
        name: ", ".join(dict.fromkeys(form for form, _ in choices))
        for name, choices in prepared.table.choices.items()
    }
    return result


def one_core(target: Target) -> Target:
    """Return the same device with one core at work."""
    return replace(target, cores=1)


def estimate_module(module: tvm.IRModule, target: Target, data: Sequence[Array]) -> ModelEstimate:
    """Estimate ``main`` of a module behind ``compilation_steps``, kernel by kernel."""
    module = lower_to_kernels(module, target, None)
    sequence = call_sequence(module)
    result = ModelEstimate(layers=kernel_layers(module))
    values: dict[TensorValue, Array] = dict(zip(sequence.inputs, data, strict=True))

    def read(value: TensorValue) -> Array:
        return values[value] if value.constant is None else value.constant

    for call in sequence.calls:
        kernel = module[call.kernel]
        parameters = kernel.params[len(call.inputs) :]
        empty = [np.zeros([int(n) for n in p.ty.shape], str(p.ty.dtype.dtype)) for p in parameters]
        arguments = [*map(read, call.inputs), *empty]
        found = estimate_kernel(kernel, arguments, target, len(call.outputs))
        values.update(zip(call.outputs, found.results, strict=True))
        result.kernels.append((call.kernel, found))
    result.outputs = [read(value) for value in sequence.outputs]
    return result
