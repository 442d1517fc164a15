"""What happens to a sum before it is stored: scale, bias and activation of the layer."""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm import tirx as tir

from dcc.schedules.cpu.weight_reader import Expr, argument


@dataclass(frozen=True)
class Activation:
    """Bounds of the result; ReLU is (0, None), ReLU6 is (0, 6)."""

    minimum: float | None = None
    maximum: float | None = None


@dataclass
class Epilogue:
    """``clip(sum * scale[o] + bias[o])`` for output channel ``o``; each part is optional.

    A batch norm on a compressed layer becomes its scale and bias, so that the codebook stays as it
    is.
    """

    channels: int
    dtype: str = "float32"
    scale: bool = False
    bias: bool = False
    activation: Activation = field(default_factory=Activation)
    buffers: dict[str, tir.Buffer] = field(default_factory=dict)

    def declare(self) -> None:
        """Declare scale and bias, each of shape (channels), as parameters of the kernel."""
        for name, present in (("scale", self.scale), ("bias", self.bias)):
            if present:
                self.buffers[name] = argument(name, (self.channels,), self.dtype)

    def apply(self, total: Expr, channel: Expr, dtype: str) -> Expr:
        """Finish the sum of an output ``channel`` and cast it to ``dtype``."""
        accumulator = total.ty.dtype if hasattr(total, "ty") else total.dtype
        if self.scale:
            total = total * tir.Cast(accumulator, self.buffers["scale"][channel])
        if self.bias:
            total = total + tir.Cast(accumulator, self.buffers["bias"][channel])
        if self.activation.minimum is not None:
            # Written so that NaN stays NaN, which the processor's maximum drops.
            low = tir.const(self.activation.minimum, accumulator)
            total = tir.Select(total < low, low, total)
        if self.activation.maximum is not None:
            high = tir.const(self.activation.maximum, accumulator)
            total = tir.Select(total > high, high, total)
        return tir.Cast(dtype, total)
