"""Graphics processors by CUDA, as data; what this machine's card is, asked of its driver."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

from dcc.errors import TargetError
from dcc.targets.energy import energy_table
from dcc.targets.target import Caches, Gpu, Target

_KIB, _MIB = 1024, 1024 * 1024
# By the data sheets of the A100 (40 GB) and the H100 (SXM).
AMPERE = Gpu(
    108,
    shared_bytes=48 * _KIB,
    multiplications=64,
    tensor_multiplications=512,
    clock=1.41,
    bandwidth=1555.0,
)
HOPPER = Gpu(
    132,
    shared_bytes=48 * _KIB,
    multiplications=128,
    tensor_multiplications=1024,
    clock=1.98,
    bandwidth=3350.0,
)
_ENERGY = energy_table(
    "estimate for 4 nm and HBM, scaled from Horowitz's 45 nm figures by the trend of Jouppi et "
    "al., ISCA 2021, Table 2",
    integer_add=0.01,
    float_add=0.2,
    integer_multiply=0.5,
    float_multiply=0.6,
    sram_word=2.0,
    dram_word=125.0,
    large_sram_word=7.0,
    byte_add=0.005,
    byte_multiply=0.05,
    half_add=0.1,
    half_multiply=0.2,
)
# Attributes of the driver's interface (cuda.h, CUdevice_attribute).
_MULTIPROCESSORS, _LEVEL2, _MAJOR, _MINOR = 16, 38, 75, 76


@dataclass(frozen=True)
class Card:
    """A card and what its driver says about it."""

    name: str
    major: int
    minor: int
    multiprocessors: int
    level2_bytes: int


@functools.cache
def find_card() -> Card | None:
    """Ask the driver for the first card; None where there is no card or no driver."""
    for name in ("libcuda.so.1", "libcuda.so", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(name)
        except OSError:
            continue
        return _first_card(driver)
    return None


def _first_card(driver: ctypes.CDLL) -> Card | None:
    device, count = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    if driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    text = ctypes.create_string_buffer(128)
    driver.cuDeviceGetName(text, len(text), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    numbers = [attribute(n) for n in (_MAJOR, _MINOR, _MULTIPROCESSORS, _LEVEL2)]
    return Card(text.value.decode(errors="replace"), *numbers)


def why_unfit(card: Card, arch: str) -> str | None:
    """Why ``card`` cannot run code for ``arch`` (``sm_90``); None where it can.

    Code for a card runs on later ones of the same major capability.
    """
    wanted, present = int(arch.removeprefix("sm_") or 0), 10 * card.major + card.minor
    if wanted // 10 == card.major and wanted <= present:
        return None
    return f"compute capability {wanted / 10}, the card here ({card.name}) has {present / 10}"


def card_target() -> Target:
    """Describe the card of this machine.

    Raises
    ------
    TargetError
        There is none.
    """
    card = find_card()
    if card is None:
        raise TargetError(
            "target 'cuda' is the card of this machine, and there is none (or no driver): "
            "name one, 'cuda-sm80' or 'cuda-sm90' (compiling needs no card, tuning devices of a "
            "tracker)"
        )
    from dataclasses import replace

    gpu = HOPPER if card.major >= 9 else AMPERE
    if card.major < 8:
        gpu = replace(gpu, tensor_multiplications=0)  # they have no TF32
    elif card.major == 8 and card.minor > 0:
        gpu = replace(gpu, multiplications=HOPPER.multiplications, tensor_multiplications=128)
    gpu = replace(gpu, multiprocessors=card.multiprocessors)
    arch = f"sm_{card.major}{card.minor}"
    return _target("cuda", f"this machine's card ({card.name})", arch, gpu, card.level2_bytes)


def sm80_target() -> Target:
    """A100 and the like: compute capability 8.0."""
    return _target("cuda-sm80", "CUDA, compute capability 8.0 (A100)", "sm_80", AMPERE, 40 * _MIB)


def sm90_target() -> Target:
    """H100 and H200: compute capability 9.0."""
    description = "CUDA, compute capability 9.0 (H100, H200)"
    return _target("cuda-sm90", description, "sm_90", HOPPER, 50 * _MIB)


def _target(name: str, description: str, arch: str, gpu: Gpu, level2: int) -> Target:
    from dcc.targets.host import host_target

    # Host code does little but launch kernels: any processor of this architecture shall run it.
    triple = host_target().options["mtriple"]
    options = {
        "kind": "cuda",
        "arch": arch,
        "max_num_threads": gpu.block_threads,
        "thread_warp_size": gpu.warp,
        "max_shared_memory_per_block": gpu.shared_bytes,
        "host": {"kind": "llvm", "mtriple": triple},
    }
    return Target(
        name,
        description,
        options,
        features=frozenset(),
        vector_floats=1,
        cores=1,
        caches=Caches(gpu.shared_bytes, level2, level2),
        energy=_ENERGY,
        gpu=gpu,
    )
