"""Compression while training, for a torch module and a loader of your own.

    import dcc.torch

    trained = dcc.torch.finetune(module, loader, "my-recipe.yaml", validation=held_out)
    trained.compress("model.dcz", example=torch.zeros(1, 3, 32, 32))

The ``layers`` of the recipe are the names of the module's parameters.
"""

from __future__ import annotations

from dcc.training.torch_extra import require_torch

require_torch("dcc.torch")

from dcc.training.torch_modules import Trained, finetune, operator_types  # noqa: E402

__all__ = ["Trained", "finetune", "operator_types"]
