"""The name of a layer in the database: what its speed depends on, but not the weight's values.

Layers of one shape whose weights are equally dense and have codebooks of one width share records.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from dcc.codegen.weight_matrix import WeightMatrix
from dcc.schedules.layer_shape import LayerShape


def layer_key(shape: LayerShape, weight: WeightMatrix) -> str:
    """Describe a layer as JSON; equal texts share tuning records."""
    facts = {
        "rows": weight.rows,
        "columns": weight.columns,
        "weight": weight.dtype.name,
        # Two significant digits: a model that is pruned again finds its records.
        "density": float(f"{weight.density:.2g}"),
        "masked": weight.mask is not None,
        "code_bits": None if weight.codebook is None else weight.code_bits,
        **asdict(shape),
    }
    return json.dumps(facts, sort_keys=True)
