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

from dcc.build import lower_and_build
from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.codegen.section import WeightSection
from dcc.compression import SKIPPED, describe_recipe, weight_table
from dcc.container import Container, is_container, read
from dcc.errors import CompileError, RecipeError
from dcc.files import refuse_same_file
from dcc.importer import import_model
from dcc.importer.model import ImportedModel
from dcc.ir_dump import observer
from dcc.module_metadata import module_metadata
from dcc.onnx_weights import load_model
from dcc.passes.legalize_coded_layers import EXPAND
from dcc.passes.pipeline import Pipeline, binding_steps, compilation_steps, compression_steps
from dcc.passes.select_storage import check_choice
from dcc.passes.weight_table import WeightTable
from dcc.progress import report
from dcc.recipes import load_recipe
from dcc.targets.registry import get_target
from dcc.targets.target import Target

if TYPE_CHECKING:
    from dcc.passes.options import Recipe
    from dcc.runtime import Module

STEPS = 4


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
        Folder with tuning records.
    dump
        Folder for the module after each pass.

    Raises
    ------
    ModelError, ContainerError, RecipeError, TargetError, CompileError, OutputError
        With what was wrong, where, and what to do.
    """
    check_choice(storage, objective)
    if output is not None and not isinstance(source, onnx.ModelProto | Container):
        refuse_same_file(output, source)
    device = target if isinstance(target, Target) else get_target(target)
    if database is not None:
        raise CompileError(f"database '{database}': there are no tuning records to read yet")
    report("importing", 0, STEPS)
    model, tensors, origin = _read_source(source, recipe)
    imported = import_model(model, shapes)
    table = weight_table(model, imported)
    section = WeightSection()
    pipeline = Pipeline(table, device, observer(dump))
    lowering = compilation_steps(table, device, storage, objective)
    report("compressing", 1, STEPS)
    if tensors is None:
        chosen = load_recipe("lossless" if recipe is None else recipe)
        origin |= {"recipe": describe_recipe(chosen)}
        module = pipeline.run(imported.module, compression_steps(table, chosen))
    else:
        module = pipeline.run(imported.module, binding_steps(table, tensors))
    report("rewriting", 2, STEPS)
    module = pipeline.run(module, lowering)
    report("building", 3, STEPS)
    compiled = _write(module, imported, table, section, device, output, origin, objective)
    report("building", STEPS, STEPS)
    return compiled


def _read_source(
    source: str | PathLike[str] | onnx.ModelProto | Container, recipe: object
) -> tuple[onnx.ModelProto, Mapping[str, EncodedTensor] | None, dict[str, Any]]:
    """Read the dense model, a container's encoded weights, and where the module comes from."""
    if isinstance(source, onnx.ModelProto):
        return source, None, {}
    if isinstance(source, Container):
        container, name = source, ""
    else:
        path = Path(source)
        name = path.name
        if not is_container(path):
            return load_model(path), None, {"file": name}
        container = read(path)
    if recipe is not None:
        raise RecipeError(
            f"recipe '{recipe}': '{name or 'the container'}' is compressed already; "
            "give the recipe to 'dcc compress'"
        )
    origin = {"file": name, "recipe": dict(container.recipe)}
    # What the recipe skips stays as raw as in a module compiled from ONNX, however it is stored.
    skipped = container.recipe.get(SKIPPED, ())
    tensors = {key: t for key, t in container.tensors.items() if key not in skipped}
    return container.to_onnx(), tensors, origin


def _write(
    module: tvm.IRModule,
    imported: ImportedModel,
    table: WeightTable,
    section: WeightSection,
    target: Target,
    output: str | PathLike[str] | None,
    origin: dict[str, Any],
    objective: str,
) -> CompiledModule:
    folder = None
    if output is None:
        folder = tempfile.TemporaryDirectory(prefix="dcc-")
        output = Path(folder.name) / "module.so"
    metadata = module_metadata(imported, table, target)
    metadata |= {
        "source": origin,
        "objective": objective,
        "decode": any(
            isinstance(function, tvm.tirx.PrimFunc) and EXPAND in function.attrs
            for _, function in module.functions_items()
        ),
    }
    lower_and_build(module, target, section, metadata, Path(output))
    return CompiledModule(Path(output), metadata, folder)
