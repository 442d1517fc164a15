"""VTA's memories, limits and costs as data: other sizes are another instruction set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dcc.targets.vta.isa import Memory

_DEPTHS = MappingProxyType(
    {Memory.UOP: 8192, Memory.WGT: 1024, Memory.INP: 2048, Memory.ACC: 2048, Memory.OUT: 2048}
)


@dataclass(frozen=True)
class Limits:
    """What a stream must keep to, to behave alike on all implementations.

    Attributes
    ----------
    micro_ops
        Entries of the micro-op buffer that every implementation has (Chisel's default core).
    tokens
        Most tokens that may wait in one FIFO (Chisel's counters saturate).
    queue
        Instructions that a command queue holds.
    distance
        Iterations that must lie between two updates of one accumulator (HLS pipelines blindly).
    shift
        Largest shift either way.
    pad
        Largest zero padding of a LOAD on one side.
    stride
        Largest distance of two rows in DRAM, in elements.
    allocation
        Bytes of one allocation or stream.
    """

    micro_ops: int = 2048
    tokens: int = 255
    queue: int = 512
    distance: int = 3
    shift: int = 15
    pad: int = 15
    stride: int = 65535
    allocation: int = 1 << 25


@dataclass(frozen=True)
class Timing:
    """Constants of the cycle model; cycles of the device's clock.

    Attributes
    ----------
    instruction
        Dispatch, fill and drain of a GEMM or ALU instruction.
    read_latency
        Before the first beat of a LOAD.
    bus_bytes
        Bytes of a beat.
    beat
        Cycles of a beat, with the idle cycles between bursts.
    burst_bytes, store_burst, store_element
        A STORE takes ``store_burst`` cycles for every burst and ``store_element`` an element.
    fetch_burst
        Instructions that fetch reads at a time.
    no_operation
        Cycles of an instruction that moves nothing.
    megahertz
        The device's clock.
    """

    instruction: int = 10
    read_latency: int = 20
    bus_bytes: int = 8
    beat: float = 9 / 8
    burst_bytes: int = 128
    store_burst: int = 6
    store_element: int = 3
    fetch_burst: int = 8
    no_operation: int = 2
    megahertz: float = 100.0


@dataclass(frozen=True)
class HostTiming:
    """What the processor beside the device takes to expand coded weights.

    In cycles of the device's clock per weight that is written. Assumed, not measured: a 667 MHz
    Cortex-A9 that looks up a code in 4 of its own cycles, and decodes a Huffman symbol in 12.
    """

    codebook_weight: float = 0.6
    huffman_weight: float = 1.8


@dataclass(frozen=True)
class Accelerator:
    """A matrix unit with scratchpads beside the processor.

    Attributes
    ----------
    depths
        Elements of each scratchpad.
    expand_bytes
        Most bytes of the double buffer into which the host expands coded weights: what a coherent
        port can serve from the host's cache.
    """

    depths: Mapping[Memory, int] = field(default_factory=lambda: _DEPTHS)
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    host: HostTiming = field(default_factory=HostTiming)
    expand_bytes: int = 128 * 1024


VTA = Accelerator()
"""The default configuration (PYNQ, Ultra96, DE10-Nano, both of its simulators)."""
