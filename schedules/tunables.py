"""What may be varied of each kernel, and the defaults, which are the default schedule."""

from __future__ import annotations

from dataclasses import dataclass

from dcc.codegen.code_tables import BYTE_TABLE_BITS
from dcc.codegen.packing import Packing
from dcc.codegen.vector_units import vector_unit
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.schedules.cpu.vector_rows import MOST_SAMPLES
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Target

# Lanes of a slice where pixels or samples are the vector: rows share nothing but the decoding.
PIXEL_LANES = 4
WINDOWED_FORMS: tuple[Form, ...] = ("sparse",)
"""Forms of the default schedule with windows: in the huffman form padding costs bits."""
WINDOW_DENSITY = 0.015
"""From this density on a permutation of x beats a gather: below, most entries are padding."""


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


def default_tunables(
    shape: LayerShape, form: Form, target: Target, weight: WeightMatrix
) -> Tunables:
    """Return the decisions of the default schedule."""
    # A lookup finds its row by number, and the GRU computes a range of rows apart.
    sort = shape.kind not in ("take", "gru")
    window = default_window(shape, form, target, weight)
    lanes = default_lanes(shape, target)
    unit = vector_unit(target.features, lanes)
    registers = unit is not None and unit.byte_entries > 0
    return Tunables(
        Packing(
            lanes,
            sort=sort,
            window=window,
            code_length=BYTE_TABLE_BITS if registers else None,
            refill_steps=2 if unit is not None and unit.expands else 1,
        )
    )


def default_window(shape: LayerShape, form: Form, target: Target, weight: WeightMatrix) -> int:
    """Columns of a window; 0 where the kernel reads no windows, or gathers are faster."""
    unit = vector_unit(target.features, default_lanes(shape, target))
    if unit is None or not unit.windows or form not in WINDOWED_FORMS:
        return 0
    rows_kernel = shape.kind in ("matmul", "lstm", "gru") and not shape.ordinary_when_dense
    if not rows_kernel or shape.samples_at_once > MOST_SAMPLES:
        return 0
    if not shape.dtype == weight.dtype.name == "float32" or weight.density < WINDOW_DENSITY:
        return 0
    return unit.windows[0]


def default_lanes(shape: LayerShape, target: Target) -> int:
    """How many rows a slice of the default schedule has."""
    if shape.kind == "take":
        return 1
    if shape.ordinary_when_dense:
        return PIXEL_LANES
    return target.vector_floats
