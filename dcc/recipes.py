"""Recipes: the YAML files that say how to compress, built in or the user's own.

A file has up to six keys, all optional::

    description: one line for `dcc recipes`
    extends: deep-compression          # a recipe to start from, by name or path
    global: {bits: 5}                  # for every weight
    operators: {Conv: {bits: 8}}       # by ONNX operator type; `bias`: those beside them
    layers: {"conv1.*": {skip: true}}  # by the weight's name or a regular expression
    training: {prune: {epochs: 20}}    # how `dcc finetune` learns

Later lines win over earlier ones: layers over operators over global, and a file over what it
extends.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcc.errors import RecipeError
from dcc.passes.options import Recipe

if TYPE_CHECKING:
    import yaml

    from dcc.recipe_schema import RecipeFile

_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+\Z")


def load_recipe(source: str | PathLike[str] | Recipe) -> Recipe:
    """Read and check a recipe.

    Parameters
    ----------
    source
        The name of a built-in recipe, the path of a YAML file, or a recipe, which is returned.

    Raises
    ------
    RecipeError
        There is no such recipe, or it has a wrong key or value; the message names key and line.
    """
    if isinstance(source, Recipe):
        return source
    return _merged(os.fspath(source), ())


def builtin_recipes() -> dict[str, str]:
    """Map the name of each built-in recipe to its description, `lossless` first."""
    names = sorted(_builtin_names(), key=lambda name: (name != "lossless", name))
    return {name: _read(name)[1].description for name in names}


def _merged(source: str, parents: tuple[str, ...]) -> Recipe:
    if source in parents:
        raise RecipeError(f"recipe {source}: extends itself by way of {' -> '.join(parents)}")
    name, content = _read(source)
    base = Recipe(name=name)
    if content.extends is not None:
        base = _merged(_beside(content.extends, source), (*parents, source))
    operators = {key: dict(settings) for key, settings in base.operator_types.items()}
    for key, settings in content.operators.items():
        operators[key] = {**operators.get(key, {}), **settings.stated()}
    layers = [(pattern, settings.stated()) for pattern, settings in content.layers.items()]
    return Recipe(
        name=name,
        settings={**base.settings, **content.global_.stated()},
        operator_types=operators,
        layers=(*base.layers, *layers),
        training=_merged_training(base.training, content.training.model_dump(exclude_unset=True)),
    )


def _merged_training(base: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """``stated`` over ``base``, stage by stage and setting by setting."""
    merged = dict(base)
    for key, value in stated.items():
        old = merged.get(key)
        merged[key] = {**old, **value} if isinstance(old, dict) else value
    return merged


def _beside(extended: str, source: str) -> str:
    """Resolve a relative path in `extends:` against the folder of the file that says it."""
    if extended in _builtin_names() or Path(extended).is_absolute():
        return extended
    beside = Path(source).parent / extended
    return str(beside) if beside.is_file() else extended


def _builtin_names() -> list[str]:
    folder = files("dcc.data") / "recipes"
    return [entry.name.removesuffix(".yaml") for entry in folder.iterdir() if _is_yaml(entry.name)]


def _is_yaml(name: str) -> bool:
    return name.endswith(".yaml")


def _read(source: str) -> tuple[str, RecipeFile]:
    """Name and checked content of the recipe that ``source`` names."""
    from dcc.recipe_schema import parse

    if source in _builtin_names():
        text = (files("dcc.data") / "recipes" / f"{source}.yaml").read_text(encoding="utf-8")
        name = source
    else:
        text = _read_file(source)
        name = Path(source).stem
    content, lines = _parse_yaml(text, source)
    return name, parse(content, lines, f"'{source}'")


def _read_file(source: str) -> str:
    path = Path(source)
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe '{source}' cannot be read as text: {error}") from error
    names = sorted(_builtin_names())
    near = difflib.get_close_matches(source, names, n=1)
    hint = f", did you mean '{near[0]}'?" if near else "."
    kind = "file" if path.suffix in (".yaml", ".yml") else "recipe"
    raise RecipeError(
        f"there is no {kind} '{source}'{hint} Expected the path of a YAML file or one of: "
        f"{', '.join(names)}"
    )


def _parse_yaml(text: str, origin: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """Parse ``text``; also the line (from 1) of each key by its path of keys."""
    import yaml

    loader = _loader()
    try:
        root = yaml.compose(text, Loader=loader)
        content = yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"recipe '{origin}' is not valid YAML: {reason}") from None
    lines: dict[tuple[str, ...], int] = {}
    for path, line in _key_lines(root, ()):
        if path in lines:
            raise RecipeError(
                f"recipe '{origin}', line {line}: '{'.'.join(path)}' is there twice "
                f"(first in line {lines[path]}); keep one"
            )
        lines[path] = line
    return content, lines


@cache
def _loader() -> type[yaml.SafeLoader]:
    """Make a safe loader that reads ``1e-4`` as a number; in YAML 1.1, ``1.0e-4`` alone is one."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
    return Loader


def _key_lines(
    node: yaml.Node | None, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], int]]:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            yield (*path, key.value), key.start_mark.line + 1
            yield from _key_lines(value, (*path, key.value))
