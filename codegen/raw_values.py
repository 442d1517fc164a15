"""Values kept bit for bit: plain, by zstd, or as byte planes by zstd; whichever is smallest.

Trained floats share exponents but hardly mantissas, so that the planes of their highest bytes
compress and the others do not. Values that a narrower type of the same kind represents exactly
(float32 centroids that were rounded to half precision, int64 shapes) are stored in that type.
Layout: one method byte, the length where zstd is used, the payload.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import zstandard

from dcc.codegen.byte_reader import ByteReader, varint
from dcc.errors import EncodingError

#: Types an ONNX tensor may have, but for strings; a tensor stores the index.
DTYPE_NAMES = [
    "float32",
    "float16",
    "bfloat16",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "complex64",
    "complex128",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn",
    "int4",
    "uint4",
    "int2",
    "uint2",
]
FLOAT_NAMES = frozenset({"float32", "float16", "bfloat16", "float64"})

_PLAIN, _ZSTD, _PLANES = 0, 1, 2
_NARROWER = {"float32": ("float16",), "float64": ("float16", "float32")}
_NARROWER |= {"int64": ("int8", "int16", "int32"), "int32": ("int8", "int16")}


def numpy_dtype(name: str) -> np.dtype:
    """Numpy type of a name in :data:`DTYPE_NAMES`."""
    if name not in DTYPE_NAMES:
        raise EncodingError(f"tensor of type {name!r}: expected one of {', '.join(DTYPE_NAMES)}")
    return np.dtype(getattr(ml_dtypes, name, name))


def bits_of(values: np.ndarray) -> np.ndarray:
    """Bit patterns: unsigned integers of the same width and shape."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").reshape(values.shape)


def write_values(values: np.ndarray, compressed: bool = True) -> bytes:
    """Serialise a flat array; nothing for an empty one.

    Without ``compressed``, each value takes the bytes of its type.
    """
    if not len(values):
        return b""
    if not compressed:
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        return bytes([_PLAIN]) + little.tobytes()
    level, narrow = _narrowest(values)
    plain = narrow.astype(narrow.dtype.newbyteorder("<"), copy=False).tobytes()
    best = bytes([_PLAIN | level << 4]) + plain
    planes = np.frombuffer(plain, dtype=np.uint8).reshape(len(narrow), -1).T.tobytes()
    for method, data in ((_ZSTD, plain), (_PLANES, planes)):
        packed = compress_bytes(data)
        candidate = bytes([method | level << 4]) + varint(len(packed)) + packed
        if len(candidate) < len(best):
            best = candidate
    return best


def read_values(reader: ByteReader, count: int, dtype: np.dtype) -> np.ndarray:
    """Read ``count`` values of ``dtype``: the inverse of :func:`write_values`.

    Raises
    ------
    EncodingError
        If the method is unknown or the payload is not exactly ``count`` values.
    """
    if not count:
        return np.empty(0, dtype=dtype)
    head = reader.byte()
    method, level = head & 15, head >> 4
    types = (dtype.name, *_NARROWER.get(dtype.name, ()))
    if method > _PLANES or level >= len(types):
        raise EncodingError(f"values: unknown method {head}; the data are damaged")
    stored = np.dtype(getattr(ml_dtypes, types[level], types[level]))
    size = count * stored.itemsize
    if method == _PLAIN:
        data = reader.take(size)
    else:
        data = decompress_bytes(reader.take(reader.varint(reader.remaining)), size)
    if method == _PLANES:
        data = np.frombuffer(data, dtype=np.uint8).reshape(stored.itemsize, count).T.tobytes()
    values = np.frombuffer(data, dtype=stored.newbyteorder("<")).astype(stored, copy=False)
    if dtype == np.bool_ and values.view(np.uint8).max() > 1:
        raise EncodingError("values: a bool is neither 0 nor 1; the data are damaged")
    return values if level == 0 else _cast(values, dtype)


def compress_bytes(data: bytes) -> bytes:
    """Compress by zstd, without the frame's magic number and sizes."""
    level = 19 if len(data) < 1 << 20 else 3
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(data),
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=False,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def decompress_bytes(data: bytes, size: int) -> bytes:
    """Inverse of :func:`compress_bytes`; EncodingError unless exactly ``size`` bytes come out."""
    decompressor = zstandard.ZstdDecompressor(
        format=zstandard.FORMAT_ZSTD1_MAGICLESS, max_window_size=1 << 27
    )
    try:
        stream = decompressor.stream_reader(data)
        out = stream.read(size)
        extra = stream.read(1)
    except zstandard.ZstdError as error:
        raise EncodingError(f"values: zstd says {error}; the data are damaged") from error
    if len(out) != size or extra:
        raise EncodingError(f"values: expected {size} bytes from zstd; the data are damaged")
    return out


def _narrowest(values: np.ndarray) -> tuple[int, np.ndarray]:
    """Narrowest type that gives every bit back: its level, and the values in it."""
    for level, name in enumerate(_NARROWER.get(values.dtype.name, ()), start=1):
        if _fits(values[:64], name) and _fits(values, name):
            return level, _cast(values, np.dtype(name))
    return 0, values


def _fits(values: np.ndarray, name: str) -> bool:
    return np.array_equal(
        bits_of(_cast(_cast(values, np.dtype(name)), values.dtype)), bits_of(values)
    )


def _cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(all="ignore"):
        return values.astype(dtype)
