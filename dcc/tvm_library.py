"""TVM's runtime library without its compiler: found on disk and loaded, ``tvm`` never imported."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

from dcc.errors import TargetError
from dcc.machine import available_cores

_THREADS = ("TVM_NUM_THREADS", "OMP_NUM_THREADS")
"""What TVM asks for the number of its threads when it makes them, in this order."""
_INSTALL = "install it with 'pip install apache-tvm==0.27.0.post1'"


@functools.cache
def tvm_version() -> str:
    """Version of the installed TVM, as the package's metadata has it.

    Raises
    ------
    TargetError
        TVM is not installed.
    """
    try:
        return importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        raise TargetError(f"the package apache-tvm is not installed: {_INSTALL}") from None


@functools.cache
def load_runtime_library() -> None:
    """Load ``libtvm_runtime``, so that ``tvm_ffi`` can load modules and run the virtual machine.

    Unless the environment says how many threads it shall use, it gets one for each core: left to
    itself, it takes half of the processors of an x86 machine, hyperthreads or not.

    Raises
    ------
    TargetError
        The library is missing or cannot be loaded.
    """
    import tvm_ffi  # noqa: F401  (its library must be in the process first: the runtime links to it)

    if not any(name in os.environ for name in _THREADS):
        os.environ[_THREADS[0]] = str(available_cores())
    _load("libtvm_runtime")


@functools.cache
def load_cuda_library() -> None:
    """Load TVM's runtime of CUDA, which needs the driver of a card.

    Raises
    ------
    TargetError
        It is missing or cannot be loaded.
    """
    load_runtime_library()
    _load("libtvm_runtime_cuda")


def _load(stem: str) -> None:
    """Load one of the libraries that lie in TVM's package."""
    suffix = {"Darwin": "dylib", "Windows": "dll"}.get(platform.system(), "so")
    found = importlib.util.find_spec("tvm")
    folders = list(found.submodule_search_locations or ()) if found else []
    for folder in folders:
        for path in sorted(Path(folder).glob(f"lib*/{stem}.{suffix}")):
            try:
                ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
            except OSError as error:
                raise TargetError(
                    f"TVM's runtime library '{path}' cannot be loaded: {error}"
                ) from None
            return
    raise TargetError(f"TVM's runtime library ({stem}.{suffix}) was not found: {_INSTALL}")
