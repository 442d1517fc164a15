"""Simulated cycles of a stream, without any data: what the tuner measures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.stream import UOPS, Stream
from dcc.errors import StreamError
from dcc.targets.vta.device import Accelerator
from dcc.targets.vta.prepared import prepare
from dcc.targets.vta.timing import Timeline, simulate

_MICRO_OPS_AT = 1 << 12
_OTHERS_AT = 1 << 24


def stream_timeline(stream: Stream, device: Accelerator) -> Timeline:
    """Estimate the time of a stream.

    Raises
    ------
    StreamError
        The stream is malformed, or does not come to its end.
    """
    data = stream.micro_ops.astype("<u4").view(np.uint8)

    def read(address: int, nbytes: int) -> npt.NDArray[np.uint8]:
        start = address - _MICRO_OPS_AT
        if start < 0 or start + nbytes > len(data):
            raise StreamError(f"address {address:#x} holds no micro-ops")
        return data[start : start + nbytes]

    addresses = {name: _MICRO_OPS_AT if name == UOPS else _OTHERS_AT for name in stream.buffers}
    return simulate(prepare(stream.placed(addresses), read, device), device)
