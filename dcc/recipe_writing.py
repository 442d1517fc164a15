"""Writes a recipe as the YAML file that :func:`dcc.load_recipe` reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dcc.passes.options import Recipe


def recipe_yaml(recipe: Recipe, description: str = "") -> str:
    """Return the text of a recipe file.

    Parameters
    ----------
    recipe
        Its settings are written in full: the file extends no other.
    description
        One line, for people.
    """
    import yaml

    content: dict[str, Any] = {"description": description} if description else {}
    if recipe.settings:
        content["global"] = _plain(recipe.settings)
    if recipe.operator_types:
        content["operators"] = {key: _plain(each) for key, each in recipe.operator_types.items()}
    if recipe.layers:
        content["layers"] = {name: _plain(each) for name, each in recipe.layers}
    training = getattr(recipe, "training", None)
    if training:
        content["training"] = _plain(training)
    text: str = yaml.safe_dump(content, sort_keys=False, width=1000, default_flow_style=None)
    return text


def pattern_of(name: str) -> str:
    """Return the key of a layer in a recipe: its name, escaped where that is no pattern."""
    try:
        re.compile(name)
    except re.error:
        return re.escape(name)
    return name


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Only the types that YAML has."""
    return {
        key: list(value)
        if isinstance(value, tuple)
        else _plain(value)
        if isinstance(value, Mapping)
        else value
        for key, value in settings.items()
    }
