"""A layer as the kernels see it, without Relax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dcc.schedules.epilogue import Activation
from dcc.schedules.geometry import ConvGeometry
from dcc.schedules.recurrence import Recurrence

MANY_SAMPLES = 8
"""From so many samples on, a weight is worth a vector of samples."""
KernelKind = Literal["matmul", "conv1d", "conv2d", "take", "lstm", "gru"]


@dataclass(frozen=True)
class LayerShape:
    """What a kernel computes, apart from the weight.

    Attributes
    ----------
    samples
        Rows of x of a matmul, looked-up indices of a take.
    dtype
        Type of the data and the result; ``index_dtype`` that of the indices of a take.
    """

    kind: KernelKind
    dtype: str = "float32"
    samples: int = 1
    geometry: ConvGeometry | None = None
    recurrence: Recurrence | None = None
    flags: dict[str, bool] = field(default_factory=dict)
    scale: bool = False
    bias: bool = False
    activation: Activation = field(default_factory=Activation)
    index_dtype: str = "int64"

    @property
    def pixels(self) -> int:
        """How often each weight is used: output pixels, samples, or time steps."""
        if self.geometry is not None:
            return self.geometry.batch * self.geometry.out_height * self.geometry.out_width
        if self.recurrence is not None:
            return self.recurrence.batch * self.recurrence.steps
        return self.samples

    @property
    def samples_at_once(self) -> int:
        """Rows of x that one reading of the weight serves."""
        return self.samples if self.recurrence is None else self.recurrence.batch

    @property
    def by_pixels(self) -> bool:
        """Whether pixels (or many samples) share each reading of a weight: not the rows kernel."""
        return self.geometry is not None or (self.kind == "matmul" and self.samples >= MANY_SAMPLES)
