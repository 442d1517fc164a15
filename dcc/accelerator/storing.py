"""Puts an accelerator's operations into a module: arrays into its section, the rest as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.section import WeightSection
from dcc.codegen.vta.program import DEVICE, Operation


def operations_to_json(operations: Sequence[Operation], section: WeightSection) -> dict[str, Any]:
    """Describe operations for the metadata; :mod:`dcc.accelerator.loading` reads them back."""

    def store(array: npt.NDArray[Any]) -> dict[str, Any]:
        data = np.ascontiguousarray(array)
        place = section.add(data) if data.nbytes else 0
        return {"offset": place, "shape": list(data.shape), "dtype": data.dtype.name}

    return {
        "device": DEVICE,
        "operations": [operation.to_json(store) for operation in operations],
    }
