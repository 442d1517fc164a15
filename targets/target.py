"""What a device is, as plain data: TVM's target, the vector unit, memories and costs of access.

Schedules and cost models choose by these attributes, never by the name of a target or a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dcc.targets.energy import EnergyTable as EnergyTable

if TYPE_CHECKING:
    import tvm

    from dcc.targets.vta.device import Accelerator


@dataclass(frozen=True)
class Caches:
    """Sizes of the data caches in bytes, as one core sees them (``last_level`` is shared)."""

    level1: int = 32 * 1024
    level2: int = 512 * 1024
    last_level: int = 8 * 1024 * 1024


@dataclass(frozen=True)
class Pipeline:
    """One core as a cycle estimate sees it.

    Attributes
    ----------
    clock
        Cycles a nanosecond (GHz).
    model
        Processor whose scheduling model of LLVM describes the core (``llvm-mca -mcpu``).
    """

    clock: float
    model: str


@dataclass(frozen=True)
class Gpu:
    """A processor of many threads, whose blocks share a memory of their own.

    Attributes
    ----------
    multiprocessors
        Units that run blocks, each several at a time.
    warp
        Threads that run in lockstep; ``block_threads`` the most of a block.
    shared_bytes
        Shared memory that any block may have.
    multiplications
        In single precision, with their additions: of a multiprocessor in a cycle.
    tensor_multiplications
        The same of values of TF32, by its tensor cores; 0 where it has none.
    clock
        Cycles a nanosecond.
    bandwidth
        Bytes a nanosecond from the card's memory.
    """

    multiprocessors: int
    warp: int = 32
    block_threads: int = 1024
    shared_bytes: int = 48 * 1024
    multiplications: int = 128
    tensor_multiplications: int = 0
    clock: float = 1.7
    bandwidth: float = 3000.0


@dataclass(frozen=True)
class Target:
    """One device to compile for.

    Attributes
    ----------
    name : str
        The name the user gives: ``host``, ``x86-64-v3``, ...
    description : str
        One line for ``dcc targets``.
    options : mapping
        Argument of ``tvm.target.Target`` (``kind``, ``mtriple``, ``mcpu``, ``mattr``).
    features : frozenset of str
        Features of the instruction set by LLVM's names.
    vector_floats : int
        Width of a vector register in float32 elements.
    cores : int
        Threads that work at a time.
    memory_bandwidth, cache_bandwidth : float
        Bytes a nanosecond: main memory, and the last cache level for each core. The defaults were
        measured on two cores of an x86 server (dense products of 16 to 411 MB).
    scratch_bytes : int
        Most that a kernel may take for inputs and weights at hand; 0: as much as is fastest.
    pipeline : Pipeline or None
        For estimates of cycles; None where there is no model.
    gpu : Gpu or None
        What kernels of thread blocks need to know; None: kernels are loops of a processor.
    accelerator : Accelerator or None
        A matrix unit beside the processor; layers that it can do are compiled for it.
    """

    name: str
    description: str
    options: Mapping[str, Any]
    features: frozenset[str]
    vector_floats: int
    cores: int
    caches: Caches = field(default_factory=Caches)
    energy: EnergyTable = field(default_factory=EnergyTable)
    memory_bandwidth: float = 30.0
    cache_bandwidth: float = 53.0
    scratch_bytes: int = 0
    pipeline: Pipeline | None = None
    gpu: Gpu | None = None
    accelerator: Accelerator | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    @property
    def triple(self) -> str:
        """Target triple of its code, such as ``aarch64-linux-gnu``; empty: the compiler's own."""
        return str(self.options.get("mtriple", ""))

    @property
    def kind(self) -> str:
        """TVM's kind of the target: ``llvm``, ``cuda``, ..."""
        return str(self.options["kind"])

    @property
    def required_features(self) -> tuple[str, ...]:
        """Features that a machine must have to run code of this target, sorted, by LLVM's names.

        Only those that :func:`dcc.targets.processor.cpu_features` can see; LLVM's tuning hints
        are none.
        """
        from dcc.targets.processor import CHECKABLE_FEATURES

        return tuple(sorted(self.features & CHECKABLE_FEATURES))

    def tvm_target(self) -> tvm.target.Target:
        """Make the same as an object of TVM (needs the compiler)."""
        import tvm

        return tvm.target.Target(dict(self.options))

    def describe(self) -> dict[str, Any]:
        """Describe the target as a module's metadata does; the runtime checks ``features``."""
        return {
            "name": self.name,
            **{
                key: self.options[key]
                for key in ("mtriple", "mcpu", "mattr", "arch")
                if key in self.options
            },
            "features": list(self.required_features),
            "vector_floats": self.vector_floats,
        }


def vector_floats(features: frozenset[str]) -> int:
    """Width in float32 elements of the widest vector register that ``features`` give."""
    if "avx512f" in features:
        return 16
    return 8 if "avx2" in features else 4
