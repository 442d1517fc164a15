"""Puts an accelerator's operations into a module: arrays into its section, the rest as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.section import WeightSection
from dcc.codegen.vta.program import DEVICE, Operation


def operations_to_json(operations: Sequence[Operation], section: WeightSection) -> dict[str, Any]:
    """Describe operations for the metadata; :mod:`dcc.accelerator.loading` reads them back.

    Equal arrays stand in the section once: the streams of a large layer differ little.
    """
    places: dict[bytes, int] = {}

    def store(array: npt.NDArray[Any]) -> dict[str, Any]:
        data = np.ascontiguousarray(array)
        key = hashlib.sha256(data.tobytes()).digest()
        if key not in places:
            places[key] = section.add(data) if data.nbytes else 0
        return {"offset": places[key], "shape": list(data.shape), "dtype": data.dtype.name}

    return {
        "device": DEVICE,
        "operations": [operation.to_json(store) for operation in operations],
    }
