"""A compressed weight seen as a matrix: a row for each output, a column for each of its inputs.

Kernels pack this view; the axes of the ONNX tensor (transposed, reshaped, sliced) are resolved
before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dcc.errors import EncodingError

Form = Literal["dense", "codebook", "sparse", "huffman"]
FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True)
class WeightMatrix:
    """A weight of shape (rows, columns) with an optional mask and an optional codebook.

    Attributes
    ----------
    values
        Dense values where there is no codebook, exact zeros where the mask is False; None
        otherwise.
    mask
        True where a weight is kept; None where nothing is skipped.
    codes, codebook
        Index of each weight's value and the values; code 0 is the exact zero wherever the mask is
        False.
    """

    values: npt.NDArray[np.floating] | None = None
    mask: npt.NDArray[np.bool_] | None = None
    codes: npt.NDArray[np.uint8] | None = None
    codebook: npt.NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        if (self.values is None) == (self.codes is None):
            raise EncodingError(
                "a weight matrix has either values or codes, and exactly one of them"
            )
        if (self.codes is None) != (self.codebook is None):
            raise EncodingError("codes and codebook of a weight matrix belong together")
        if self.grid.ndim != 2:
            raise EncodingError(f"a weight matrix has 2 axes, got shape {self.grid.shape}")
        if self.mask is not None and self.mask.shape != self.grid.shape:
            raise EncodingError(f"mask of shape {self.mask.shape} on a weight of {self.grid.shape}")

    @classmethod
    def from_codes(
        cls, codes: npt.NDArray[np.uint8], codebook: npt.NDArray[np.floating]
    ) -> WeightMatrix:
        """Take codes of shape (rows, columns); an exact zero becomes code 0 and the mask."""
        zeros = np.flatnonzero(codebook.view(f"u{codebook.dtype.itemsize}") == 0)
        if not zeros.size:
            return cls(codes=codes, codebook=codebook)
        zero = int(zeros[0])
        if zero:
            swap = np.arange(codebook.size, dtype=np.uint8)
            swap[[0, zero]] = zero, 0
            codes, codebook = swap[codes], codebook[swap]
        mask = codes != 0
        return cls(codes=codes, codebook=codebook, mask=None if mask.all() else mask)

    @property
    def grid(self) -> npt.NDArray[np.generic]:
        """The codes, or the values where there is no codebook; shape (rows, columns)."""
        grid = self.codes if self.codes is not None else self.values
        assert grid is not None
        return grid

    @property
    def rows(self) -> int:
        """Number of outputs."""
        return int(self.grid.shape[0])

    @property
    def columns(self) -> int:
        """Number of inputs that an output sums over."""
        return int(self.grid.shape[1])

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Type of the weight's values."""
        return (self.codebook if self.codebook is not None else self.grid).dtype  # type: ignore[return-value]

    @property
    def density(self) -> float:
        """Fraction of the weights that are kept."""
        if self.mask is None:
            return 1.0
        return float(np.count_nonzero(self.mask)) / max(self.mask.size, 1)

    @property
    def code_bits(self) -> int:
        """Bits of a code; 0 where there is no codebook or it has one entry."""
        if self.codebook is None:
            return 0
        return max(int(self.codebook.size - 1).bit_length(), 0)

    def decode(self) -> npt.NDArray[np.floating]:
        """Return the dense weight, shape (rows, columns)."""
        if self.codes is None or self.codebook is None:
            assert self.values is not None
            return self.values
        return self.codebook[self.codes]

    def refusal(self, form: Form) -> str | None:
        """Why ``form`` cannot store this weight; None where it can."""
        if form == "codebook" and self.codebook is None:
            return "the weight has no codebook: none of at most 256 values holds it and saves bytes"
        if form == "huffman" and self.codebook is None and self.mask is None:
            return "the weight has neither a mask nor a codebook to entropy-code"
        return None
