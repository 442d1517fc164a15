"""The boundary between a program and whatever runs it: what VTA's own runtime asks of a driver."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

PAGE = 4096


class Buffer(Protocol):
    """Memory that both the host and the device reach.

    Attributes
    ----------
    physical
        Byte address that instructions use; a multiple of the page.
    view
        The same bytes for the host, ``uint8``, one axis.
    """

    physical: int
    view: npt.NDArray[np.uint8]


class Driver(Protocol):
    """Allocates memory and runs streams."""

    def allocate(self, nbytes: int, cached: bool = True) -> Buffer:
        """Allocate memory at the start of a page; its contents are undefined."""

    def free(self, buffer: Buffer) -> None:
        """Give memory back."""

    def flush(self, buffer: Buffer) -> None:
        """Make what the host wrote visible to the device."""

    def invalidate(self, buffer: Buffer) -> None:
        """Make what the device wrote visible to the host."""

    def run(self, stream: Buffer, count: int) -> None:
        """Run ``count`` instructions and wait until they are done.

        Raises
        ------
        DriverError
            The device did not finish.
        StreamError
            The device found a fault in the stream.
        """

    def close(self) -> None:
        """Give the device back."""
