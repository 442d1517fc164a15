"""From a module's file to something that runs its operations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.module_file import read_weights
from dcc.codegen.vta.program import DEVICE, Operation
from dcc.errors import ModuleError

ACCELERATOR = "accelerator"
"""Key of the metadata."""
_TYPES = {"int8", "uint8", "int16", "int32", "uint32", "uint64"}


def read_operations(path: str | Path, metadata: Mapping[str, Any]) -> list[Operation]:
    """Read what a module runs on an accelerator; an empty list for other modules.

    Raises
    ------
    ModuleError
        The file is damaged or for an accelerator that this version does not know.
    """
    facts = metadata.get(ACCELERATOR)
    if facts is None:
        return []
    section = np.frombuffer(read_weights(path), np.uint8)
    try:
        if facts["device"] != DEVICE:
            raise ValueError(f"accelerator '{facts['device']}'")
        return [
            Operation.from_json(operation, lambda place: _array(section, place))
            for operation in facts["operations"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModuleError(
            f"'{path}': the accelerator's part is damaged ({error}): compile it again"
        ) from None


def _array(section: npt.NDArray[np.uint8], place: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Copy an array out of the section; every number is checked, the file is not trusted."""
    if place["dtype"] not in _TYPES:
        raise ValueError(f"element type {place['dtype']}")
    shape = [int(size) for size in place["shape"]]
    dtype = np.dtype(place["dtype"]).newbyteorder("<")
    nbytes, offset = math.prod(shape) * dtype.itemsize, int(place["offset"])
    if min(shape, default=0) < 0 or offset < 0 or offset + nbytes > len(section):
        raise ValueError("an array leaves the section of weights")
    found: npt.NDArray[Any] = section[offset : offset + nbytes].view(dtype).reshape(shape)
    return found.astype(place["dtype"])
