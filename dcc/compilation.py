"""``compile``: from an ONNX model or a container to a module over its compressed weights."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import tvm

from dcc.accelerator.loading import ACCELERATOR
from dcc.accelerator.storing import operations_to_json
from dcc.build import lower_and_build
from dcc.codegen.section import WeightSection
from dcc.codegen.weight_matrix import FORMS
from dcc.compressed_module import STEPS, CompressedModule, compressed_module
from dcc.container import Container
from dcc.errors import CompileError
from dcc.files import check_writable, refuse_same_file
from dcc.module_metadata import module_metadata
from dcc.passes.legalize_coded_layers import EXPAND
from dcc.passes.offload.storage import check_form
from dcc.passes.pipeline import HALF, PRECISIONS, SINGLE, compilation_steps
from dcc.passes.select_storage import check_choice
from dcc.progress import report
from dcc.targets.registry import get_target
from dcc.targets.target import Target
from dcc.tuning_database import look_up

if TYPE_CHECKING:
    from dcc.passes.options import Recipe
    from dcc.runtime import Module


class CompiledModule(PathLike[str]):
    """A module on disk: a path, for :func:`dcc.load` and the like, that loads itself when called.

    Attributes
    ----------
    path
        The shared library.
    metadata
        What the module says about itself: inputs, outputs, layers, target.
    """

    def __init__(
        self,
        path: Path,
        metadata: dict[str, Any],
        folder: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self.path = path
        self.metadata = metadata
        self._folder = folder  # deleted with this object
        self._module: Module | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"CompiledModule({str(self.path)!r})"

    def load(self) -> Module:
        """Load it, once."""
        from dcc.runtime import load

        if self._module is None:
            self._module = load(self.path)
        return self._module

    def __call__(self, *inputs: Any) -> list[np.ndarray]:
        """Run it; see :class:`dcc.Module`."""
        return self.load()(*inputs)


def compile(
    source: str | PathLike[str] | onnx.ModelProto | Container,
    output: str | PathLike[str] | None = None,
    target: str | Target = "host",
    recipe: str | PathLike[str] | Recipe | None = None,
    storage: str = "auto",
    objective: str = "latency",
    shapes: Mapping[str, Sequence[int]] | None = None,
    database: str | PathLike[str] | None = None,
    *,
    calibrate: str | PathLike[str] | Mapping[str, np.ndarray] | None = None,
    precision: str = SINGLE,
    dump: str | PathLike[str] | None = None,
) -> CompiledModule:
    """Compile a model into a shared library.

    Parameters
    ----------
    source
        An ONNX model or a container, or the path of one.
    output
        The library; None writes into a temporary folder that lives as long as the result.
    target
        Name of a device, see ``dcc targets``.
    recipe
        How to compress an ONNX model (default ``lossless``); a container is compressed already.
    storage
        ``auto`` or a storage form for every layer that can have it.
    objective
        What ``auto`` optimises: ``latency``, ``size`` or ``energy``.
    shapes
        ONNX input name -> shape, for inputs with dynamic dimensions.
    database
        Folder with tuning records, see :func:`dcc.tune`; None builds the default schedules.
    calibrate
        For targets with an accelerator: inputs that its scales are chosen for, an ``.npz`` file or
        arrays by input name; None draws random ones.
    precision
        ``fp32``, or, on targets that are cards, ``fp16``: products and convolutions read data and
        values in half precision, and sum in single precision.
    dump
        Folder for the module after each pass.

    Raises
    ------
    ModelError, ContainerError, RecipeError, TargetError, CompileError, TuningError, OutputError
        With what was wrong, where, and what to do.
    """
    device = target if isinstance(target, Target) else get_target(target)
    _check_options(device, storage, objective, calibrate is not None)
    check_precision(device, precision)
    if output is not None and not isinstance(source, onnx.ModelProto | Container):
        refuse_same_file(output, source)
    if output is not None:
        check_writable(output)
    host = device.accelerator is None
    tuned = None if database is None or not host else look_up(database, device)
    prepared = compressed_module(source, device, recipe, shapes, dump)
    table, section = prepared.table, WeightSection()
    if device.accelerator is None:
        lowering = compilation_steps(table, device, storage, objective, tuned, precision=precision)
    else:
        from dcc.accelerator.offloading import offloading_step

        offload = offloading_step(prepared, device, storage, objective, calibrate, database)
        rest = storage if storage in FORMS else "auto"
        lowering = compilation_steps(table, device, rest, objective, tuned, [offload])
    module = prepared.pipeline.run(prepared.module, lowering)
    report("building", 3, STEPS)
    facts = {"objective": objective, "precision": precision}
    compiled = _write(module, prepared, section, device, output, facts)
    report("building", STEPS, STEPS)
    return compiled


def check_precision(device: Target, precision: str) -> None:
    """Check the precision that the user asks for.

    Raises
    ------
    CompileError
        There is no such precision, or the target does not have it.
    """
    if precision not in PRECISIONS:
        expected = ", ".join(PRECISIONS)
        raise CompileError(f"unknown precision '{precision}': expected one of {expected}")
    if precision == HALF and device.gpu is None:
        raise CompileError(
            f"target '{device.name}' computes in {SINGLE}: precision {HALF} is for cards "
            "(see 'dcc targets')"
        )


def _check_options(device: Target, storage: str, objective: str, calibrating: bool) -> None:
    """Refuse what the target does not have."""
    if device.accelerator is None:
        check_choice(storage, objective)
        if calibrating:
            raise CompileError(
                f"target '{device.name}' computes in floating point: --calibrate is for targets "
                "with an accelerator"
            )
    else:
        check_form(storage)
        check_choice("auto", objective)


def _write(
    module: tvm.IRModule,
    prepared: CompressedModule,
    section: WeightSection,
    target: Target,
    output: str | PathLike[str] | None,
    facts: dict[str, Any],
) -> CompiledModule:
    folder = None
    if output is None:
        folder = tempfile.TemporaryDirectory(prefix="dcc-")
        output = Path(folder.name) / "module.so"
    table = prepared.table
    metadata = module_metadata(prepared.imported, table, target)
    metadata |= {
        **facts,
        "source": prepared.origin,
        "decode": any(
            isinstance(function, tvm.tirx.PrimFunc) and EXPAND in function.attrs
            for _, function in module.functions_items()
        ),
    }
    if table.operations:
        metadata[ACCELERATOR] = operations_to_json(table.operations, section)
    lower_and_build(module, target, section, metadata, Path(output), count=True)
    return CompiledModule(Path(output), metadata, folder)
