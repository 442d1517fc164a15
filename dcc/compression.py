"""``compress`` and ``decompress``: between an ONNX model and the target-neutral container."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import tvm
from tvm import relax

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.container import Container, read
from dcc.errors import InputError, ModelError
from dcc.files import atomic_write, refuse_same_file
from dcc.importer import import_model
from dcc.importer.graph import read_graph
from dcc.importer.model import ImportedModel
from dcc.importer.shapes import input_specs
from dcc.importer.weights import operator_types
from dcc.ir_dump import observer
from dcc.onnx_weights import array_of, load_model, weight_tensors
from dcc.passes.options import LayerOptions, Recipe
from dcc.passes.parameters import MAIN
from dcc.passes.pipeline import Pipeline, compression_steps
from dcc.passes.weight_table import Part, WeightTable
from dcc.progress import report
from dcc.recipes import load_recipe

if TYPE_CHECKING:
    from os import PathLike

_log = logging.getLogger(__name__)

Shapes = Mapping[str, Sequence[int]]
PARTS: tuple[Part, ...] = ("mask", "codes", "codebook")
SKIPPED = "skipped"
"""Key of a container's recipe: the weights that the recipe leaves as they are."""


def compress(
    model: str | PathLike[str] | onnx.ModelProto,
    output: str | PathLike[str] | None = None,
    recipe: str | PathLike[str] | Recipe = "lossless",
    *,
    shapes: Shapes | None = None,
    calibrate: str | PathLike[str] | Mapping[str, npt.NDArray[np.generic]] | None = None,
    dump: str | PathLike[str] | None = None,
) -> Container:
    """Prune, share and entropy-code the weights of a model.

    Parameters
    ----------
    model
        Path of an ONNX file, or the model itself.
    output
        Where the ``.dcz`` is written; None writes nothing.
    recipe
        Name of a built-in recipe, path of a YAML file, or a recipe.
    shapes
        ONNX input name -> shape. Compression does not depend on it; only the module that the passes
        see does.
    calibrate
        Inputs of the model, without labels: arrays by name or an ``.npz`` file; k-means and biases
        then follow what the weights are multiplied with. See
        :func:`dcc.training.calibration.calibrate`, which also says what that gains.
    dump
        Folder for the module after each pass; not together with ``calibrate``.

    Returns
    -------
    Container
        What was written.

    Raises
    ------
    ModelError, RecipeError, OutputError
        With what was wrong, where, and what to do.
    """
    if output is not None and not isinstance(model, onnx.ModelProto):
        refuse_same_file(output, model)
    proto = model if isinstance(model, onnx.ModelProto) else load_model(Path(model))
    chosen = load_recipe(recipe)
    if calibrate is not None and dump is not None:
        raise InputError("--dump: a calibration compresses several times; leave one of them out")
    if calibrate is None:
        container = compress_model(proto, chosen, shapes, dump=dump)
    else:
        # Calibration runs the model, compression alone needs no compiler.
        from dcc.training.calibration import calibrate as calibrated

        container = calibrated(proto, calibrate, chosen, shapes=shapes).container
    if output is not None:
        container.write(Path(output))
    return container


def compress_model(
    model: onnx.ModelProto,
    recipe: Recipe,
    shapes: Shapes | None = None,
    importance: Mapping[str, npt.NDArray[np.floating]] | None = None,
    dump: str | PathLike[str] | None = None,
) -> Container:
    """Compress a model in memory; see :func:`compress`.

    Parameters
    ----------
    importance
        ONNX name of a weight -> what the square of an error of each element costs, as many numbers
        as it has elements; k-means counts by it. Weights that are not there count all alike.
    """
    report("importing", 0, 3)
    imported = _import(model, shapes)
    table = weight_table(model, imported)
    known = importance or {}
    table.importance = {
        name: known[origin] for name, origin in table.onnx_names.items() if origin in known
    }
    report("compressing", 1, 3)
    pipeline = Pipeline(table, observe=observer(dump))
    pipeline.run(imported.module, compression_steps(table, recipe))
    report("encoding", 2, 3)
    description = describe_recipe(recipe)
    skipped = [origin for origin, options in _options(table, recipe) if options.skip]
    if skipped:
        description[SKIPPED] = skipped
    _warn_of_unused(table, recipe)
    container = Container.from_model(model, _encoded(table, recipe), description)
    report("encoding", 3, 3)
    return container


def decompress(
    container: str | PathLike[str] | Container, output: str | PathLike[str] | None = None
) -> onnx.ModelProto:
    """Turn a container back into a plain ONNX model.

    Parameters
    ----------
    container
        Path of a ``.dcz`` file, or the container itself.
    output
        Where the ONNX file is written; None writes nothing.

    Raises
    ------
    ContainerError, OutputError
        The container is damaged; the file cannot be written.
    """
    if output is not None and not isinstance(container, Container):
        refuse_same_file(output, container)
    stored = container if isinstance(container, Container) else read(Path(container))
    model = stored.to_onnx()
    if output is not None:
        data = model.SerializeToString()
        with atomic_write(Path(output)) as file:
            file.write(data)
    return model


def weight_table(model: onnx.ModelProto, imported: ImportedModel) -> WeightTable:
    """Gather the values behind the parameters of an imported model, and who reads them."""
    types = operator_types(read_graph(model.graph))
    of_parameter = {
        name: types[origin] for name, origin in imported.onnx_names.items() if origin in types
    }
    inputs = frozenset(variable.name for variable in imported.module[MAIN].params)
    return WeightTable(
        dict(imported.weights),
        dict(imported.onnx_names),
        of_parameter,
        inputs - imported.weights.keys(),
    )


def describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """Describe a recipe as a container does."""
    described: dict[str, Any] = {"name": recipe.name}
    if recipe.settings:
        described["settings"] = dict(recipe.settings)
    if recipe.operator_types:
        described["operator_types"] = {k: dict(v) for k, v in recipe.operator_types.items()}
    if recipe.layers:
        described["layers"] = [[pattern, dict(values)] for pattern, values in recipe.layers]
    return described


def recipe_of(described: Mapping[str, Any]) -> Recipe:
    """Make the recipe that :func:`describe_recipe` described."""
    return Recipe(
        str(described.get("name", "")),
        dict(described.get("settings", {})),
        {kind: dict(values) for kind, values in described.get("operator_types", {}).items()},
        tuple((str(pattern), dict(values)) for pattern, values in described.get("layers", ())),
    )


def _warn_of_unused(table: WeightTable, recipe: Recipe) -> None:
    """Say which layer settings of a recipe match no weight: most likely a slip of the pen."""
    for pattern in recipe.unused_layers(list(table.onnx_names.values())):
        _log.warning("recipe '%s': layer '%s' matches no weight of the model", recipe.name, pattern)


def _import(model: onnx.ModelProto, shapes: Shapes | None) -> ImportedModel:
    """Import the model; where an input's shape is open, only its weights: sharing needs no more."""
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialized]
    try:
        input_specs(inputs, shapes)
    except ModelError:
        if shapes:
            raise
        return _weights_only(model)
    return import_model(model, shapes)


def _weights_only(model: onnx.ModelProto) -> ImportedModel:
    """Make a module that returns the weights of ``model``."""
    arrays = {}
    names = {}
    for index, (name, tensor) in enumerate(weight_tensors(model).items()):
        array = array_of(tensor, name)
        if array.dtype.kind == "f" and array.size > 1:
            arrays[f"w{index}"] = array
            names[f"w{index}"] = name
    builder = relax.BlockBuilder()
    parameters = [
        relax.Var(name, relax.TensorType(array.shape, array.dtype.name))
        for name, array in arrays.items()
    ]
    with builder.function(MAIN, parameters):
        with builder.dataflow():
            outputs = [builder.emit(parameter) for parameter in parameters]
            result = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(result)
    module: tvm.IRModule = builder.get()
    return ImportedModel(module, arrays, names, [], [])


def _encoded(table: WeightTable, recipe: Recipe) -> dict[str, EncodedTensor]:
    """Encode every weight that a pass has changed; the container keeps the others bit for bit."""
    tensors = {}
    for name, (origin, options) in zip(table.onnx_names, _options(table, recipe), strict=True):
        if _changes_nothing(options):
            continue
        mask, codes, codebook = (table.part(name, part) for part in PARTS)
        if codes is not None and codebook is not None:
            tensors[origin] = EncodedTensor.from_codes(mask, codes, codebook)
        elif mask is not None:
            tensors[origin] = EncodedTensor.from_values(mask, table.arrays[name][mask])
    return tensors


def _options(table: WeightTable, recipe: Recipe) -> Iterator[tuple[str, LayerOptions]]:
    """ONNX name and options of every weight."""
    for name, origin in table.onnx_names.items():
        yield origin, recipe.for_layer(origin, table.operator_type(name))


def _changes_nothing(options: LayerOptions) -> bool:
    return options.skip or (
        options.density is None
        and options.threshold is None
        and options.bits is None
        and options.structure != "n:m"
    )
