"""What a decision of a kernel is: declared in ``tunables`` and, for thread blocks, in ``cuda``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from dcc.codegen.vector_units import VectorUnit, vector_unit
from dcc.codegen.weight_matrix import Form, WeightMatrix
from dcc.schedules.cuda.tensor_tile import parts_of
from dcc.schedules.layer_shape import LayerShape
from dcc.targets.target import Target

Value: TypeAlias = "int | str | None"
Values: TypeAlias = "Mapping[str, Any]"


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

    @cached_property
    def tensor_parts(self) -> int | None:
        """Values of TF32 that make up one of the weight's; None where they cannot be split."""
        weight = self.weight
        return parts_of(weight.grid if weight.codebook is None else weight.codebook)

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


Conflict: TypeAlias = "tuple[str, Callable[[Case, Values], bool]]"
"""Why values do not go together, and when."""
