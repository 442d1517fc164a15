"""One compressed weight, independent of any target.

Four contents are possible: raw values; codes into a codebook; and either of them behind a mask of
the kept positions. The choices of the stored form (gap width, which streams are entropy-coded) are
made when the bytes are first asked for.
"""

from __future__ import annotations

import math

import numpy as np

from dcc.codegen.deserialization import deserialize
from dcc.codegen.lossless import lossless_candidates
from dcc.codegen.raw_values import FLOAT_NAMES, bits_of, numpy_dtype
from dcc.codegen.serialization import serialize
from dcc.codegen.tensor_parts import EncodingChoices, Serialized, StorageBytes, TensorParts
from dcc.errors import EncodingError

__all__ = ["EncodedTensor", "EncodingChoices", "StorageBytes"]

#: Memory that one tensor read from untrusted bytes may ask for, unless the caller says otherwise.
MAX_BYTES = 1 << 34


class EncodedTensor:
    """A tensor of any ONNX type but string; immutable.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        Numpy's name, such as ``float32`` or ``bfloat16``.
    mask : numpy.ndarray or None
        ``bool``, of ``shape``; True = kept. Zeros are never kept. None: no position is skipped.
    codes : numpy.ndarray or None
        ``uint8``, of ``shape``; with a mask, code 0 exactly where nothing is kept.
    codebook : numpy.ndarray or None
        Of ``dtype``, 1-D, at most 256 entries; ``codebook[0] == 0`` if there is a mask.
    values : numpy.ndarray or None
        Where there are no codes: the (kept) values in C order, 1-D.
    """

    def __init__(self, parts: TensorParts, serialized: Serialized | None = None) -> None:
        self._parts = parts
        self._serialized = serialized
        self.shape = parts.shape
        self.dtype = parts.dtype
        self.mask = parts.mask
        self.codes = parts.codes
        self.codebook = parts.codebook
        self.values = parts.values

    def __repr__(self) -> str:
        form = "raw" if self.codebook is None else f"{len(self.codebook)} levels"
        return f"EncodedTensor({self.dtype}{list(self.shape)}, {form}, density {self.density:.4f})"

    @classmethod
    def from_dense(cls, array: np.ndarray) -> EncodedTensor:
        """Keep each weight bit for bit in the fewest bytes.

        Zeros become the mask and distinct values the codebook where that is smaller. A -0.0 that
        the mask drops comes back as 0.0; everything else, NaN and infinity included, is exact.

        Raises
        ------
        EncodingError
            If the array's type is not one of ONNX, or strings.
        """
        numpy_dtype(array.dtype.name)
        candidates = [cls(parts) for parts in lossless_candidates(array)]
        return min(candidates, key=lambda candidate: len(candidate.to_bytes()))

    @classmethod
    def from_codes(
        cls, mask: np.ndarray | None, codes: np.ndarray, codebook: np.ndarray
    ) -> EncodedTensor:
        """Tensor of ``codebook[codes]``, zero where ``mask`` is False.

        With a mask ``codebook[0]`` must be 0; kept positions with code 0 leave the mask.
        """
        _check_float(codebook.dtype)
        if not 1 <= len(codebook) <= 256 or codebook.ndim != 1:
            raise EncodingError(
                f"codebook of shape {list(codebook.shape)}: expected 1 to 256 entries"
            )
        if codes.size and int(codes.max()) >= len(codebook):
            raise EncodingError(
                f"code {int(codes.max())} exceeds the codebook of {len(codebook)} entries"
            )
        codes = np.ascontiguousarray(codes, dtype=np.uint8).reshape(codes.shape)
        if mask is not None:
            if mask.shape != codes.shape or int(bits_of(codebook)[0]) != 0:
                raise EncodingError(
                    f"codes of shape {list(codes.shape)} behind a mask of {list(mask.shape)}: "
                    "expected equal shapes and a codebook that starts with 0.0"
                )
            codes = codes * mask.astype(np.uint8)
            mask = codes != 0
        return cls(TensorParts(codes.shape, codebook.dtype.name, mask, codes, codebook, None))

    @classmethod
    def from_values(
        cls, mask: np.ndarray | None, values: np.ndarray, shape: tuple[int, ...] | None = None
    ) -> EncodedTensor:
        """Tensor of raw ``values``: the kept ones in C order behind a ``mask``, else all of them.

        ``shape`` is needed only without a mask, where ``values`` is flat.
        """
        flat = np.ascontiguousarray(values).reshape(-1)
        if mask is None:
            shape = values.shape if shape is None else shape
            if math.prod(shape) != flat.size:
                raise EncodingError(f"{flat.size} values do not fill the shape {list(shape)}")
            return cls(TensorParts(tuple(shape), values.dtype.name, None, None, None, flat))
        _check_float(values.dtype)
        if int(np.count_nonzero(mask)) != flat.size:
            raise EncodingError(
                f"{flat.size} values for {int(np.count_nonzero(mask))} kept positions of the mask"
            )
        kept = bits_of(flat) != 0
        if not kept.all():
            mask = mask.copy()
            mask[mask] = kept
            flat = flat[kept]
        return cls(TensorParts(mask.shape, values.dtype.name, mask, None, None, flat))

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def density(self) -> float:
        """Share of weights that are not zero; 1 for an empty tensor."""
        if not self.size:
            return 1.0
        kept = self.mask if self.mask is not None else self.decode() != 0
        return int(np.count_nonzero(kept)) / self.size

    @property
    def choices(self) -> EncodingChoices:
        """What was chosen for the stored form."""
        return self._serialize().choices

    def decode(self) -> np.ndarray:
        """Return the dense tensor, bit for bit."""
        if self.codes is not None and self.codebook is not None:
            return self.codebook[self.codes]
        assert self.values is not None
        if self.mask is None:
            return self.values.reshape(self.shape).copy()
        dense = np.zeros(self.shape, dtype=self.values.dtype)
        dense[self.mask] = self.values
        return dense

    def nbytes(self, entropy_coded: bool = True) -> StorageBytes:
        """Where the bytes of :meth:`to_bytes` go.

        Without ``entropy_coded``, those of the same tensor with fields of fixed widths.
        """
        return (self._serialize() if entropy_coded else serialize(self._parts, False)).storage

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        return self._serialize().data

    @classmethod
    def from_bytes(cls, data: bytes, max_bytes: int = MAX_BYTES) -> EncodedTensor:
        """Read :meth:`to_bytes` back; the data need not be trusted.

        Raises
        ------
        EncodingError
            If the data are damaged or need more than ``max_bytes`` of memory.
        """
        parts, serialized = deserialize(data, max_bytes)
        return cls(parts, serialized)

    def _serialize(self) -> Serialized:
        if self._serialized is None:
            self._serialized = serialize(self._parts)
        return self._serialized


def _check_float(dtype: np.dtype) -> None:
    if dtype.name not in FLOAT_NAMES:
        raise EncodingError(
            f"tensor of type {dtype.name}: masks and codebooks need one of "
            f"{', '.join(sorted(FLOAT_NAMES))}"
        )
