"""``deploy --standalone``: a model as a static library with a C interface, without any runtime."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvm
from tvm import tirx

from dcc.build import lower_to_kernels
from dcc.codegen.memory_plan import Lifetime, largest_sum, plan_memory
from dcc.codegen.module_file import object_sizes
from dcc.codegen.section import WeightSection
from dcc.codegen.standalone_interface import (
    Place,
    Port,
    StandaloneModel,
    Step,
    example,
    header,
    identifier,
    source,
)
from dcc.compressed_module import Source, compressed_module
from dcc.errors import CompileError, ModelError, OutputError, TargetError
from dcc.passes.call_sequence import CallSequence, TensorValue, call_sequence
from dcc.passes.pipeline import compilation_steps
from dcc.passes.select_storage import check_choice
from dcc.schedules.raw_kernels import RawKernels, build_raw
from dcc.targets.registry import get_target
from dcc.targets.target import Target
from dcc.targets.toolchain import archiver_for, objects_triple, run_compiler

if TYPE_CHECKING:
    from dcc.passes.options import Recipe
    from dcc.tensor_spec import TensorSpec

SCRATCH_BYTES = 16 * 1024
"""Most that a kernel takes for inputs and weights at hand, beside what its algorithm needs."""


@dataclass
class Standalone:
    """What was written, and what it takes on the device, in bytes.

    Attributes
    ----------
    code, read_only
        Of the library: machine code; weights and other constants.
    workspace
        What the caller provides; ``activations`` is the largest sum of temporary tensors that live
        at one time, which no plan can go below.
    """

    folder: Path
    name: str
    code: int = 0
    read_only: int = 0
    writable: int = 0
    workspace: int = 0
    activations: int = 0
    files: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return {**dataclasses.asdict(self), "folder": str(self.folder)}


def deploy_standalone(
    model: Source,
    output: str | PathLike[str],
    target: str | Target = "host",
    recipe: str | PathLike[str] | Recipe | None = None,
    storage: str = "auto",
    objective: str = "size",
    shapes: Mapping[str, Sequence[int]] | None = None,
    name: str | None = None,
) -> Standalone:
    """Write ``libNAME.a``, ``NAME.h`` and an example program into the folder ``output``.

    Parameters
    ----------
    model, recipe, storage, objective, shapes
        As of :func:`dcc.compile`.
    target
        Name of a device; any whose compiler makes ELF objects.
    name
        Prefix of all symbols; by default from the model's file name.

    Raises
    ------
    ModelError, ContainerError, RecipeError, TargetError, CompileError, OutputError
        With what was wrong, where, and what to do.
    """
    check_choice(storage, objective)
    if isinstance(model, str | PathLike) and _is_module(model):
        raise ModelError(
            f"'{model}' is a module, which cannot be compiled again: give the ONNX model or the "
            ".dcz that it was compiled from"
        )
    device = _one_core(target if isinstance(target, Target) else get_target(target))
    _check_processor(device)
    objects_triple(device.triple)  # before the work: is there a compiler?
    prepared = compressed_module(model, device, recipe, shapes)
    steps = compilation_steps(prepared.table, device, storage, objective, at_load=False)
    module = prepared.pipeline.run(prepared.module, steps)
    prefix = identifier(name or _stem(model))
    section = WeightSection(prefix)
    module = lower_to_kernels(module, device, section)
    sequence = call_sequence(module)
    kernels = _kernels(module, sequence, prefix, device)
    result = Standalone(Path(output), prefix)
    interface = _interface(
        sequence, prepared.imported.inputs, prepared.imported.outputs, kernels, section, result
    )
    _write(interface, kernels, section, device, result)
    return result


def _check_processor(target: Target) -> None:
    kind = "a card" if target.gpu is not None else "an accelerator"
    if target.gpu is not None or target.accelerator is not None:
        raise TargetError(
            f"'{target.name}' is for {kind}: a library without a runtime is for processors alone; "
            "give one of their targets (see 'dcc targets'), or make a module with 'dcc compile'"
        )


def _one_core(target: Target) -> Target:
    return dataclasses.replace(target, cores=1, scratch_bytes=SCRATCH_BYTES)


def _is_module(path: str | PathLike[str]) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False  # told where the model is read


def _stem(model: Source) -> str:
    return Path(model).stem if isinstance(model, str | PathLike) else "model"


def _kernels(
    module: tvm.IRModule, sequence: CallSequence, prefix: str, target: Target
) -> RawKernels:
    """Compile the kernels that the sequence calls, under names of the model."""
    wanted = dict.fromkeys(call.kernel for call in sequence.calls)
    functions = {}
    for name in wanted:
        function = module[name]
        if not isinstance(function, tirx.PrimFunc):
            raise CompileError(f"'{name}' is no kernel: deploy it without --standalone")
        functions[_symbol(prefix, name)] = function
    return build_raw(functions, target)


def _symbol(prefix: str, kernel: str) -> str:
    return f"{prefix}_{kernel}"


def _interface(
    sequence: CallSequence,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    kernels: RawKernels,
    section: WeightSection,
    result: Standalone,
) -> StandaloneModel:
    """Give every tensor its place, and plan the workspace."""
    places = {value: Place("input", number) for number, value in enumerate(sequence.inputs)}
    made = {value for call in sequence.calls for value in call.outputs}
    copies = []
    for number, value in enumerate(sequence.outputs):
        if value in made and value not in places:
            places[value] = Place("output", number)
        else:
            copies.append((number, value))
    for value in _constants(sequence):
        places[value] = Place("weights", section.add(value.constant))  # type: ignore[arg-type]
    scratch = [kernels.scratch[_symbol(result.name, call.kernel)] for call in sequence.calls]
    lifetimes, owners = _lifetimes(sequence, places)
    plan = plan_memory([*lifetimes, *(Lifetime(s, n, n) for n, s in enumerate(scratch))])
    offsets = dict(zip(owners, plan.offsets, strict=False))
    places |= {value: Place("workspace", offset) for value, offset in offsets.items()}
    steps = []
    for call, offset in zip(sequence.calls, plan.offsets[len(owners) :], strict=True):
        arguments = [places[value] for value in (*call.inputs, *call.outputs)]
        arguments.append(Place("workspace", offset))
        steps.append(Step(_symbol(result.name, call.kernel), tuple(arguments)))
    steps += [
        Step("", (Place("output", number), places[value]), value.nbytes) for number, value in copies
    ]
    result.workspace, result.activations = plan.size, largest_sum(lifetimes)
    return StandaloneModel(
        result.name,
        tuple(Port(spec.name, spec.shape, spec.dtype) for spec in inputs),
        tuple(Port(spec.name, spec.shape, spec.dtype) for spec in outputs),
        tuple(steps),
        plan.size,
    )


def _constants(sequence: CallSequence) -> list[TensorValue]:
    read = [value for call in sequence.calls for value in call.inputs]
    found = [value for value in (*read, *sequence.outputs) if value.constant is not None]
    return list(dict.fromkeys(found))


def _lifetimes(
    sequence: CallSequence, places: Mapping[TensorValue, Place]
) -> tuple[list[Lifetime], list[TensorValue]]:
    """Lifetimes of tensors without a place: from the call that makes one to the last reader."""
    first: dict[TensorValue, int] = {}
    last: dict[TensorValue, int] = {}
    for number, call in enumerate(sequence.calls):
        for value in call.outputs:
            first[value] = last[value] = number
        for value in call.inputs:
            last[value] = number
    for value in sequence.outputs:
        last[value] = len(sequence.calls)
    owners = [value for value in first if value not in places]
    return [Lifetime(value.nbytes, first[value], last[value]) for value in owners], owners


def _write(
    model: StandaloneModel,
    kernels: RawKernels,
    section: WeightSection,
    target: Target,
    result: Standalone,
) -> None:
    """Compile the interface and put all into a static library."""
    name, folder = result.name, result.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="dcc-") as work:
            objects = [Path(work) / f"{name}_kernels.o", Path(work) / f"{name}.o"]
            kernels.module.write_to_file(str(objects[0]))
            weights = Path(work) / f"{name}_weights.bin"
            section.write(weights)
            (folder / f"{name}.h").write_text(header(model))
            (folder / "example.c").write_text(example(model))
            code = Path(work) / f"{name}.c"
            code.write_text(source(model, weights))
            options = ["-x", "c", "-std=gnu99", "-Os", "-fPIC", "-fno-asynchronous-unwind-tables"]
            run_compiler(
                [*options, f"-I{folder}", "-c", code, "-o", objects[1]],
                "compiling the C interface",
                objects_triple(target.triple),
            )
            _archive(objects, folder / f"lib{name}.a", objects_triple(target.triple))
            sizes = [object_sizes(each) for each in objects]
    except OSError as error:
        raise OutputError(
            f"cannot write into '{folder}': {error.strerror or error}; give a folder that can be "
            "written"
        ) from error
    result.code, result.read_only, result.writable = (
        sum(parts) for parts in zip(*sizes, strict=True)
    )
    result.files = [f"lib{name}.a", f"{name}.h", "example.c"]


def _archive(objects: Sequence[Path], library: Path, triple: str) -> None:
    library.unlink(missing_ok=True)
    command = [*archiver_for(triple), "rcs", str(library), *map(str, objects)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(
            f"making '{library}' failed ({command[0]}): {done.stderr.strip()[-500:]}"
        )
