"""Layers as the schedules of VTA see them: shapes and integer arithmetic, without any weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dcc.targets.vta.device import VTA
from dcc.targets.vta.isa import BLOCK

_MOST_SHIFT = VTA.limits.shift


@dataclass(frozen=True)
class Requantise:
    """From accumulators to int8: shift right with rounding, then clip.

    Attributes
    ----------
    shift
        Bits, -30 to 30; negative shifts to the left. Half is rounded up.
    low, high
        Bounds of the result, within -128 to 127.
    """

    shift: int = 0
    low: int = -128
    high: int = 127

    @property
    def rounding(self) -> int:
        """What is added before the shift."""
        return 1 << (self.shift - 1) if self.shift > 0 else 0

    @property
    def split(self) -> tuple[int, Requantise]:
        """A shift ahead of rounding, and the rest: one instruction shifts by 15 bits at most."""
        first = max(self.shift - _MOST_SHIFT, 0) or min(self.shift + _MOST_SHIFT, 0)
        return first, replace(self, shift=self.shift - first)


@dataclass(frozen=True)
class Residual:
    """A second tensor that is added to a layer's result.

    Attributes
    ----------
    shift
        Bits by which accumulators are shifted right (without rounding) before it is added.
    lift
        Bits by which its values are shifted left, 0 to 6.
    """

    shift: int
    lift: int


@dataclass(frozen=True)
class ConvLayer:
    """A convolution; a matrix product is one of 1x1 over as many columns as it has rows.

    Attributes
    ----------
    pads
        Top, left, bottom, right.
    bias_blocks
        Whether the matrix unit adds the bias, from blocks of weights, instead of the ALU.
    sums_in, sums_out
        Whether a stream goes on with the sums that another left, and leaves its own to the next.
    """

    batch: int
    channels: int
    height: int
    width: int
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    bias: bool = False
    requantise: Requantise = field(default_factory=Requantise)
    residual: Residual | None = None
    bias_blocks: bool = False
    sums_in: bool = False
    sums_out: bool = False

    @property
    def input_blocks(self) -> int:
        """Blocks of 16 input channels."""
        return -(-self.channels // BLOCK)

    @property
    def output_blocks(self) -> int:
        """Blocks of 16 output channels."""
        return -(-self.outputs // BLOCK)

    @property
    def span(self) -> tuple[int, int]:
        """Rows and columns that a window covers."""
        return (
            self.dilations[0] * (self.kernel[0] - 1) + 1,
            self.dilations[1] * (self.kernel[1] - 1) + 1,
        )

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        room = self.height + self.pads[0] + self.pads[2] - self.span[0]
        return room // self.strides[0] + 1

    @property
    def out_width(self) -> int:
        """Columns of the result."""
        room = self.width + self.pads[1] + self.pads[3] - self.span[1]
        return room // self.strides[1] + 1

    @property
    def identities(self) -> int:
        """Blocks at the end of WGT that tensors are added through."""
        return int(self.residual is not None) + int(self.sums_in)

    @property
    def micro_ops(self) -> int:
        """Multiplications of 16x16 blocks."""
        blocks = self.input_blocks * self.output_blocks * self.kernel[0] * self.kernel[1]
        return self.batch * self.out_height * self.out_width * blocks


@dataclass(frozen=True)
class PoolLayer:
    """Max-pooling; padding never wins. ``pads``: top, left, bottom, right."""

    batch: int
    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def blocks(self) -> int:
        """Blocks of 16 channels."""
        return -(-self.channels // BLOCK)

    def _size(self, axis: int) -> int:
        size = (self.height, self.width)[axis]
        span = self.dilations[axis] * (self.kernel[axis] - 1) + 1
        return (size + self.pads[axis] + self.pads[axis + 2] - span) // self.strides[axis] + 1

    @property
    def out_height(self) -> int:
        """Rows of the result."""
        return self._size(0)

    @property
    def out_width(self) -> int:
        """Columns of the result."""
        return self._size(1)


@dataclass(frozen=True)
class SumLayer:
    """One tensor or the sum of two, element by element, brought to another scale and clipped.

    Attributes
    ----------
    lifts
        Bits by which each operand is shifted left, 0 to 6.
    """

    elements: int
    lifts: tuple[int, ...]
    requantise: Requantise = field(default_factory=Requantise)


Layer = ConvLayer | PoolLayer | SumLayer
