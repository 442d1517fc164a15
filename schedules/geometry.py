"""Shapes of a convolution as the pixel kernel sees them: contiguous along the output pixels.

The padded input is split by stride phase, ``phase[ph, pw][h, w] = padded[h * stride_h + ph, w *
stride_w + pw]``, so that a kernel offset is one constant displacement and neighbouring output
pixels are neighbours in memory, at any stride. Output pixel (h, w) has the flat position ``h *
phase_width + w``; positions past the output's width are computed and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ConvGeometry:
    """A 2-D convolution (a 1-D one has height 1); NCHW, weights OIHW.

    Attributes
    ----------
    pads
        Top, left, bottom, right.
    """

    batch: int
    channels: int
    height: int
    width: int
    outputs: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        span = self.dilations[0] * (self.kernel[0] - 1) + 1
        return (self.height + self.pads[0] + self.pads[2] - span) // self.strides[0] + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        span = self.dilations[1] * (self.kernel[1] - 1) + 1
        return (self.width + self.pads[1] + self.pads[3] - span) // self.strides[1] + 1

    @property
    def phases(self) -> int:
        """Number of stride phases."""
        return self.strides[0] * self.strides[1]

    @property
    def phase_height(self) -> int:
        """Rows of a phase plane: what the output and the furthest kernel row touch."""
        return self.out_height + self.dilations[0] * (self.kernel[0] - 1) // self.strides[0]

    @property
    def phase_width(self) -> int:
        """Columns of a phase plane."""
        return self.out_width + self.dilations[1] * (self.kernel[1] - 1) // self.strides[1]

    @property
    def plane(self) -> int:
        """Elements of a phase plane."""
        return self.phase_height * self.phase_width

    @property
    def image(self) -> int:
        """Elements of all phase planes of one image."""
        return self.channels * self.phases * self.plane

    @property
    def pixels(self) -> int:
        """Flat output positions, the dropped ones between the rows among them."""
        return (self.out_height - 1) * self.phase_width + self.out_width

    @property
    def columns(self) -> int:
        """Weights of one output: channels of its group times kernel positions."""
        return self.channels // self.groups * self.kernel[0] * self.kernel[1]

    @property
    def one_window(self) -> bool:
        """Whether the kernel covers the whole input once: a matrix product of the images."""
        whole = self.kernel == (self.height, self.width)
        return whole and self.groups == 1 and not any(self.pads)

    @property
    def in_place(self) -> bool:
        """Whether the input itself has the layout of the phase planes: no padding, stride 1."""
        return (
            self.phases == 1
            and not any(self.pads)
            and (self.phase_height, self.phase_width) == (self.height, self.width)
        )

    def flattened(self) -> ConvGeometry:
        """Return a pointwise convolution as one over rows as long as the image; else itself."""
        if self.kernel != (1, 1) or not self.in_place:
            return self
        return replace(self, height=1, width=self.height * self.width)
