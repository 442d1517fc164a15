"""What happens to a sum before it is stored: scale, bias and activation of the layer."""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm import tirx as tir

from dcc.schedules.weight_reader import Expr, argument


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

    def apply(self, total: Expr, channel: Expr, dtype: str, lanes: int = 1) -> Expr:
        """Finish the sum of an output ``channel`` and cast it to ``dtype``.

        With ``lanes`` above 1 ``total`` is a vector: of one channel, or, where ``channel`` is a
        ramp, of as many channels.
        """
        kind = str(total.ty.dtype)
        if self.scale:
            total = total * self._factor("scale", channel, kind, lanes)
        if self.bias:
            total = total + self._factor("bias", channel, kind, lanes)
        element = kind.split("x")[0]
        if self.activation.minimum is not None:
            # Written so that NaN stays NaN, which the processor's maximum drops.
            low = spread(tir.const(self.activation.minimum, element), lanes)
            total = tir.Select(total < low, low, total)
        if self.activation.maximum is not None:
            high = spread(tir.const(self.activation.maximum, element), lanes)
            total = tir.Select(total > high, high, total)
        return tir.Cast(dtype if lanes == 1 else f"{dtype}x{lanes}", total)

    def _factor(self, name: str, channel: Expr, kind: str, lanes: int) -> Expr:
        """Scale or bias of a channel in the type of the sum."""
        factor = self.buffers[name][channel]
        if isinstance(channel, tir.Ramp):
            return tir.Cast(kind, factor)
        return spread(tir.Cast(kind.split("x")[0], factor), lanes)


def spread(value: Expr, lanes: int) -> Expr:
    """Put ``value`` in every lane; itself where there is one."""
    return tir.Broadcast(value, lanes) if lanes > 1 else value
