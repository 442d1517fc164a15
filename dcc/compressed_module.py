"""From any source to a module with masks and codebooks: ``compile`` and ``tune`` start so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import tvm

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.compression import SKIPPED, describe_recipe, weight_table
from dcc.container import Container, is_container, read
from dcc.errors import RecipeError
from dcc.importer import import_model
from dcc.importer.model import ImportedModel
from dcc.ir_dump import observer
from dcc.onnx_weights import load_model
from dcc.passes.pipeline import Pipeline, binding_steps, compression_steps
from dcc.passes.weight_table import WeightTable
from dcc.progress import report
from dcc.recipes import load_recipe
from dcc.targets.target import Target

if TYPE_CHECKING:
    from dcc.passes.options import Recipe

STEPS = 4
Source = str | PathLike[str] | onnx.ModelProto | Container


@dataclass(frozen=True)
class CompressedModule:
    """A model whose weights are compressed, in the middle of the pipeline.

    Attributes
    ----------
    origin
        Where the model comes from, for a module's metadata.
    """

    module: tvm.IRModule
    imported: ImportedModel
    table: WeightTable
    pipeline: Pipeline
    origin: dict[str, Any]


def compressed_module(
    source: Source,
    target: Target,
    recipe: str | PathLike[str] | Recipe | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dump: str | PathLike[str] | None = None,
) -> CompressedModule:
    """Import a model and compress it, or bind a container's weights; see :func:`dcc.compile`.

    Raises
    ------
    ModelError, ContainerError, RecipeError
        With what was wrong, where, and what to do.
    """
    report("importing", 0, STEPS)
    model, tensors, origin = _read_source(source, recipe)
    imported = import_model(model, shapes)
    table = weight_table(model, imported)
    pipeline = Pipeline(table, target, observer(dump))
    report("compressing", 1, STEPS)
    if tensors is None:
        chosen = load_recipe("lossless" if recipe is None else recipe)
        origin |= {"recipe": describe_recipe(chosen)}
        module = pipeline.run(imported.module, compression_steps(table, chosen))
    else:
        module = pipeline.run(imported.module, binding_steps(table, tensors))
    report("rewriting", 2, STEPS)
    return CompressedModule(module, imported, table, pipeline, origin)


def _read_source(
    source: Source, recipe: object
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
