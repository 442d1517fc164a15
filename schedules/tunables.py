"""What may be varied of each kernel, and the defaults, which are the default schedule.

``TUNABLES`` is the one declaration: a name (a field of ``Packing`` or of ``Tunables``), what it is,
and the values worth trying; its default is that of ``default_tunables``. ``CONFLICTS`` names values
that do not go together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from dcc.codegen.code_tables import BYTE_TABLE_BITS
from dcc.codegen.packing import Packing
from dcc.codegen.vector_units import VectorUnit, vector_unit
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.schedules.cpu.dense_conv import tile_channels
from dcc.schedules.cpu.dense_matmul import PANEL_VECTORS
from dcc.schedules.cpu.vector_rows import MOST_SAMPLES
from dcc.schedules.cuda.packing import block_packing
from dcc.schedules.form_sizes import window_padding
from dcc.schedules.kernel_costs import kernel_costs
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Target

Value: TypeAlias = "int | str | None"
Values: TypeAlias = "Mapping[str, Any]"

# Lanes of a slice of a convolution with fewer output channels than a vector has elements.
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
    tile_vectors
        Most vectors of pixels (or samples) whose sums the pixel kernel holds in registers; None:
        those of ``PixelTiling``.
    panel_kilobytes
        Inputs that the pixel kernel keeps in the first cache level; None: those of
        ``PixelTiling``.
    """

    packing: Packing
    in_flight: int | None = None
    tile_vectors: int | None = None
    panel_kilobytes: int | None = None


def default_tunables(
    shape: LayerShape, form: Form, target: Target, weight: WeightMatrix
) -> Tunables:
    """Return the decisions of the default schedule."""
    if target.gpu is not None:
        return Tunables(block_packing(shape, form, target.gpu, weight))
    if form == "dense":
        return Tunables(Packing(dense_lanes(shape, target)))
    # A lookup finds its row by number, and the GRU computes a range of rows apart.
    # Many samples write the rows of a slice side by side.
    many = shape.kind == "matmul" and shape.by_pixels
    sort = shape.kind not in ("take", "gru") and not many
    window = default_window(shape, form, target, weight)
    lanes = default_lanes(shape, target)
    unit = vector_unit(target.features, lanes)
    registers = unit is not None and unit.byte_entries > 0
    scalars = Case(shape, form, weight, target).scalar_rows
    shared = scalars or (unit is not None and unit.expands)
    return Tunables(
        Packing(
            lanes,
            sort=sort,
            window=window,
            window_align=unit.window_align if unit is not None and window else Packing.window_align,
            code_length=BYTE_TABLE_BITS if registers else None,
            refill_steps=2 if shared else 1,
        )
    )


def default_window(shape: LayerShape, form: Form, target: Target, weight: WeightMatrix) -> int:
    """Columns of a window; 0 where the kernel reads no windows, or gathers are faster."""
    unit = vector_unit(target.features, default_lanes(shape, target))
    costs = kernel_costs(target)
    if unit is None or not unit.windows or form not in costs.windowed:
        return 0
    rows_kernel = shape.kind in ("matmul", "lstm", "gru") and not shape.by_pixels
    if not rows_kernel or shape.samples_at_once > MOST_SAMPLES:
        return 0
    # Padding has to be decoded, too: it costs more than it saves where that is slow.
    if form == "huffman" and not unit.byte_entries:
        return 0
    window = unit.best_window(weight.density)
    if not shape.dtype == weight.dtype.name == "float32":
        return 0
    # Padding costs as much as weights: where it is most of the entries, gathers are faster.
    entries = 1 + window_padding(weight.density, window)
    faster = entries * costs.windowed[form].row_entry < costs.forms[form].row_entry
    return window if faster else 0


def dense_lanes(shape: LayerShape, target: Target) -> int:
    """How many rows a slice of the dense form has: what its kernel holds in registers together."""
    if shape.geometry is not None:
        return tile_channels(shape.geometry, target.vector_floats)
    if shape.by_pixels:
        return PANEL_VECTORS * target.vector_floats
    return default_lanes(shape, target)


def default_lanes(shape: LayerShape, target: Target) -> int:
    """How many rows a slice of the default schedule has."""
    if shape.kind == "take":
        return 1
    if shape.geometry is not None and shape.geometry.outputs < target.vector_floats:
        return PIXEL_LANES
    return target.vector_floats


@dataclass(frozen=True)
class Case:
    """A layer in one storage form on one target: what the values worth trying depend on."""

    shape: LayerShape
    form: Form
    weight: WeightMatrix
    target: Target

    @property
    def rows_kernel(self) -> bool:
        """Whether rows run in lockstep, and a few samples at a time."""
        recurrent_or_product = self.shape.kind in ("matmul", "lstm", "gru")
        return recurrent_or_product and not self.shape.by_pixels

    @property
    def pixel_kernel(self) -> bool:
        """Whether pixels or samples are the vector."""
        return self.shape.kind != "take" and not self.rows_kernel and self.form != "dense"

    @property
    def entry_wise(self) -> bool:
        """Whether the kernel reads entries of the non-zeros only."""
        return self.form in ("sparse", "huffman") and self.weight.mask is not None

    @property
    def scalar_rows(self) -> bool:
        """Whether rows run on scalars, as vectors cannot gather."""
        unit = vector_unit(self.target.features, self.target.vector_floats)
        gathers = unit is None or unit.gathers
        return self.rows_kernel and self.entry_wise and not gathers

    def unit(self, lanes: int) -> VectorUnit | None:
        """Return the unit of a vector kernel; None where another kernel computes the layer."""
        return vector_unit(self.target.features, lanes) if self.rows_kernel else None


@dataclass(frozen=True)
class Tunable:
    """One decision: a field of ``Packing`` or ``Tunables``.

    Attributes
    ----------
    choices
        The values worth trying in a case. The default is added where it is missing; nothing is
        tuned where there is no other.
    """

    name: str
    meaning: str
    choices: Callable[[Case], tuple[Value, ...]]


def _lanes(case: Case) -> tuple[Value, ...]:
    if case.shape.kind == "take":
        return ()
    if case.form == "dense" and case.shape.kind == "matmul" and not case.rows_kernel:
        return tuple(vectors * case.target.vector_floats for vectors in (1, 2, 3))
    if not case.rows_kernel:
        return (1, 4, 8, 16)
    return tuple(lanes for lanes in (8, 16) if case.unit(lanes)) or (4, 8)


def _sort(case: Case) -> tuple[Value, ...]:
    return (0, 1) if case.entry_wise and case.shape.kind not in ("take", "gru") else ()


def _windows(case: Case) -> tuple[Value, ...]:
    narrow = case.shape.dtype == case.weight.dtype.name == "float32"
    if not (case.entry_wise and narrow and case.shape.samples_at_once <= MOST_SAMPLES):
        return ()
    units = [unit for unit in map(case.unit, (8, 16)) if unit is not None]
    return (0, *sorted({window for unit in units for window in unit.windows}))


def _window_align(case: Case) -> tuple[Value, ...]:
    return (1, 4, 8, 16) if len(_windows(case)) > 1 else ()


def _gap_bits(case: Case) -> tuple[Value, ...]:
    if case.form == "sparse" and case.scalar_rows:
        return (None, 16 - max(case.weight.code_bits, 4))  # entries of 16 bits: no fillers
    if case.form != "huffman" or not case.entry_wise:
        return ()
    middle = max(1, int(np.ceil(-np.log2(max(case.weight.density, 2.0**-10)))))
    return tuple(range(middle, min(middle + 4, 13)))


def _code_length(case: Case) -> tuple[Value, ...]:
    return (None, BYTE_TABLE_BITS, 8, 10, 12) if case.form == "huffman" else ()


def _refill_steps(case: Case) -> tuple[Value, ...]:
    return (1, 2) if case.form == "huffman" and case.rows_kernel else ()


def _in_flight(case: Case) -> tuple[Value, ...]:
    return (1, 2, 3, 4, 6, 8) if case.rows_kernel and not case.scalar_rows else ()


def _tile_vectors(case: Case) -> tuple[Value, ...]:
    return (None, 4, 6, 8, 14, 20) if case.pixel_kernel else ()


def _panel_kilobytes(case: Case) -> tuple[Value, ...]:
    return (None, 16, 24, 48, 64, 128) if case.pixel_kernel else ()


TUNABLES = (
    Tunable("lanes", "rows of a slice, which run in lockstep", _lanes),
    Tunable("sort", "whether rows may stand in another order to save padding", _sort),
    Tunable("window", "columns of x in registers; 0: gaps and gathers", _windows),
    Tunable("window_align", "windows start at multiples of so many columns", _window_align),
    Tunable("gap_bits", "width of a gap in an entry", _gap_bits),
    Tunable("code_length", "longest code of the huffman form", _code_length),
    Tunable("refill_steps", "steps that share a refill of a decoder's windows", _refill_steps),
    Tunable("in_flight", "slices that a thread runs interleaved", _in_flight),
    Tunable("tile_vectors", "most vectors of pixels in registers", _tile_vectors),
    Tunable("panel_kilobytes", "inputs in the first cache level", _panel_kilobytes),
)


def _window_without_unit(case: Case, values: Values) -> bool:
    unit = case.unit(values["lanes"])
    return values["window"] > 0 and (unit is None or values["window"] not in unit.windows)


def _aligned_gaps(_case: Case, values: Values) -> bool:
    return not values["window"] and values["window_align"] != Packing.window_align


CONFLICTS: tuple[tuple[str, Callable[[Case, Values], bool]], ...] = (
    (
        "only vector kernels interleave slices",
        lambda case, v: case.unit(v["lanes"]) is None and v["in_flight"] is not None,
    ),
    ("the vector unit has no such window", _window_without_unit),
    ("gaps have no windows to align", _aligned_gaps),
    (
        "windows that start further apart than they are wide leave columns out",
        lambda _, v: 0 < v["window"] < v["window_align"],
    ),
    ("windows have no gaps", lambda _, v: v["window"] > 0 and v["gap_bits"] is not None),
    (
        "the vector unit has no tables of bytes",
        lambda case, v: (
            v["code_length"] == BYTE_TABLE_BITS
            and not getattr(case.unit(v["lanes"]), "byte_entries", 0)
        ),
    ),
    (
        "the vector unit refills after every step",
        lambda case, v: (
            v["refill_steps"] > 1
            and not case.scalar_rows
            and not getattr(case.unit(v["lanes"]), "expands", False)
        ),
    ),
)
