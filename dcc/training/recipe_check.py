"""What a recipe says to a model that is to be trained: which of its entries mean nothing there."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from dcc.errors import RecipeError
from dcc.passes.options import Recipe
from dcc.training.compressible import CompressibleModel, compresses

_log = logging.getLogger(__name__)
_SHOWN = 8


def check_layers(recipe: Recipe, names: Iterable[str], model: CompressibleModel) -> None:
    """Warn of layers of a recipe that match no weight: most likely slips of the pen.

    Parameters
    ----------
    names
        Of the weights that are trained, as the recipe knows them.
    model
        With the weights that the recipe compresses.

    Raises
    ------
    RecipeError
        None of its layers matches, and it compresses nothing else.
    """
    known = list(names)
    unused = recipe.unused_layers(known)
    compressing = any(compresses(weight.options) for weight in model.weights.values())
    if unused and len(unused) == len(recipe.layers) and not compressing:
        shown = ", ".join(known[:_SHOWN]) + ", ..." * (len(known) > _SHOWN)
        raise RecipeError(
            f"recipe '{recipe.name}' compresses nothing of this model: no weight matches its "
            f"layers ({', '.join(unused[:_SHOWN])}). Expected names such as {shown}; "
            "'dcc inspect MODEL.onnx' shows all"
        )
    for pattern in unused:
        _log.warning(
            "recipe '%s': layer '%s' matches no weight that is trained", recipe.name, pattern
        )
