"""What may be varied of each kernel, and the defaults, which are the default schedule."""

from __future__ import annotations

from dataclasses import dataclass

from dcc.codegen.packing import Packing
from dcc.codegen.weight_matrix import Form
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Target

# Lanes of a slice where pixels or samples are the vector: rows share nothing but the decoding.
PIXEL_LANES = 4


@dataclass(frozen=True)
class Tunables:
    """The decisions of one kernel.

    Attributes
    ----------
    packing
        How the weight is laid out.
    in_flight
        Slices that a thread of the rows kernel runs interleaved; None: as many as the registers
        hold.
    """

    packing: Packing
    in_flight: int | None = None


def default_tunables(shape: LayerShape, form: Form, target: Target) -> Tunables:
    """Return the decisions of the default schedule."""
    # A lookup finds its row by number, and the GRU computes a range of rows apart.
    sort = shape.kind not in ("take", "gru")
    return Tunables(Packing(default_lanes(shape, target), sort=sort))


def default_lanes(shape: LayerShape, target: Target) -> int:
    """How many rows a slice of the default schedule has."""
    if shape.kind == "take":
        return 1
    if shape.ordinary_when_dense:
        return PIXEL_LANES
    return target.vector_floats
