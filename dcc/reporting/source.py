"""The model that a report is about, and what tells it from others."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path

import onnx

from dcc.container import Container, is_container, read
from dcc.errors import ModelError, RecipeError
from dcc.onnx_weights import load_model, weight_tensors
from dcc.passes.options import Recipe
from dcc.recipes import load_recipe

DEFAULT_RECIPE = "deep-compression"


@dataclass(frozen=True)
class ReportSource:
    """What is compressed, or was.

    Attributes
    ----------
    nbytes
        Of the file, and of the external data that an ONNX model may have.
    sha256
        Of the file.
    model, recipe
        The dense model and how to compress it; None where the file is a container.
    container
        None where the file is an ONNX model.
    """

    path: Path
    nbytes: int
    sha256: str
    model: onnx.ModelProto | None
    recipe: Recipe | None
    container: Container | None


def read_source(
    path: str | PathLike[str], recipe: str | PathLike[str] | Recipe | None
) -> ReportSource:
    """Read the model.

    Raises
    ------
    ModelError, ContainerError
        The file is missing or damaged.
    RecipeError
        There is no such recipe, or it was given for a container.
    """
    path = Path(path)
    try:
        digest = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(
            f"cannot read the model {path}: {error.strerror or error}; expected an ONNX model or "
            "a .dcz"
        ) from None
    if is_container(path):
        if recipe is not None:
            raise RecipeError(
                f"recipe '{recipe}': '{path.name}' is compressed already; leave --recipe out"
            )
        return ReportSource(path, path.stat().st_size, digest, None, None, read(path))
    chosen = load_recipe(DEFAULT_RECIPE if recipe is None else recipe)
    model = load_model(path)
    return ReportSource(path, _nbytes(path), digest, model, chosen, None)


def _nbytes(path: Path) -> int:
    """Bytes of an ONNX file and of its external data."""
    bare = onnx.load(str(path), load_external_data=False)
    others = {
        entry.value
        for tensor in weight_tensors(bare).values()
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return path.stat().st_size + sum((path.parent / name).stat().st_size for name in others)
