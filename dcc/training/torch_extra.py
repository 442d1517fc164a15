"""PyTorch is optional: whoever needs it asks here first."""

from __future__ import annotations

import importlib.util

from dcc.errors import DccError

INSTALL = (
    "pip install '.[train]' in dcc's source tree "
    "(without a GPU add --extra-index-url https://download.pytorch.org/whl/cpu)"
)


def require_torch(purpose: str) -> None:
    """Check that PyTorch is installed.

    Raises
    ------
    DccError
        It is not; the message names the extra that brings it.
    """
    if importlib.util.find_spec("torch") is None:
        raise DccError(f"{purpose} needs PyTorch, which is not installed; {INSTALL}")
