"""The sections of a ``.dcz``: checksums, compression, and how much memory a file may ask for.

A file may ask for memory in proportion to its size, and for a fixed amount in any case, so that no
small file unfolds into more than the machine has.
"""

from __future__ import annotations

import zlib

from dcc.codegen.byte_reader import ByteReader, varint
from dcc.codegen.raw_values import compress_bytes, decompress_bytes
from dcc.errors import ContainerError

_FREE_BYTES = 1 << 28  # decoded bytes that any container may ask for
_RATIO = 2048  # decoded bytes that each byte of a larger one may ask for
_FREE_BLOB_BYTES = 1 << 22
_BLOB_RATIO = 256


def section(blob: bytes) -> bytes:
    """Length, bytes and checksum."""
    return varint(len(blob)) + blob + zlib.crc32(blob).to_bytes(4, "little")


def read_section(reader: ByteReader, name: str) -> bytes:
    """Bytes of the next section.

    Raises
    ------
    ContainerError
        If the checksum does not match.
    EncodingError
        If the section is cut short.
    """
    blob = reader.take(reader.varint(reader.remaining))
    if int.from_bytes(reader.take(4), "little") != zlib.crc32(blob):
        raise ContainerError(f"the checksum of the {name} does not match; the file is damaged")
    return blob


def pack_blob(data: bytes) -> bytes:
    """Size and zstd where that is smaller and may be read again; size 0 says plain."""
    packed = varint(len(data)) + compress_bytes(data)
    readable = len(data) <= _largest_unpacked(len(packed))
    return packed if readable and len(packed) < 1 + len(data) else b"\0" + data


def unpack_blob(blob: bytes) -> bytes:
    """Inverse of :func:`pack_blob`; EncodingError if the blob is damaged or unfolds too far."""
    reader = ByteReader(blob, "section")
    size = reader.varint(_largest_unpacked(len(blob)))
    return decompress_bytes(reader.rest(), size) if size else reader.rest()


def allowance(file_size: int) -> int:
    """Bytes of decoded tensors that a file may ask for."""
    return max(_FREE_BYTES, _RATIO * file_size)


def file_size_for(decoded_bytes: int) -> int:
    """Size that a file needs to have to ask for ``decoded_bytes``."""
    return 0 if decoded_bytes <= _FREE_BYTES else -(-decoded_bytes // _RATIO)


def _largest_unpacked(blob_size: int) -> int:
    return max(_FREE_BLOB_BYTES, _BLOB_RATIO * blob_size)
