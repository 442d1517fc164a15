"""Reading untrusted bytes: every length is checked before it is used."""

from __future__ import annotations

from dcc.errors import EncodingError


class ByteReader:
    """Take bytes and variable-length integers off the front of a buffer."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._position = 0

    @property
    def position(self) -> int:
        """Bytes taken so far."""
        return self._position

    @property
    def remaining(self) -> int:
        """Bytes left."""
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes; :class:`EncodingError` if there are fewer."""
        if not 0 <= count <= self.remaining:
            raise EncodingError(
                f"{self._where}: {count} bytes expected at byte {self._position}, "
                f"{self.remaining} left; the data are damaged or cut short"
            )
        start = self._position
        self._position += count
        return self._data[start : start + count]

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def varint(self, limit: int = (1 << 63) - 1) -> int:
        """Return the next LEB128 integer, at most ``limit``."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 63:
                raise EncodingError(
                    f"{self._where}: an integer of more than 63 bits; the data are damaged"
                )
        if value > limit:
            raise EncodingError(
                f"{self._where}: {value} exceeds the limit of {limit}; the data are damaged"
            )
        return value

    def rest(self) -> bytes:
        """Return all bytes left, without taking them."""
        return self._data[self._position :]

    def finish(self) -> None:
        """Raise :class:`EncodingError` if bytes are left over."""
        if self.remaining:
            raise EncodingError(
                f"{self._where}: {self.remaining} bytes left over; the data are damaged"
            )


def varint(value: int) -> bytes:
    """Non-negative integer as LEB128, seven bits a byte."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
