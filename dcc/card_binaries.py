"""Compiled kernels of cards, which TVM's runtime asks for by their source when it loads a module.

A library keeps the source of its kernels, and the runtime wants it compiled; what was compiled when
the library was made is found by the source's digest. Needs no compiler, and no TVM but ``tvm_ffi``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from dcc.errors import ModuleError

SUFFIX = ".cubin"
_MAKE_MODULE = "ffi.Module.create.cuda"
_BINARIES: dict[str, bytes] = {}
_FOLDERS: list[Path] = []


def digest_of(source: str) -> str:
    """Name of the binary of ``source``."""
    return sha256(source.encode()).hexdigest()


def offer_binary(digest: str, binary: bytes) -> None:
    """Offer a compiled source to TVM's runtime."""
    _BINARIES[digest] = binary
    _answer()


def offer_folder(folder: Path) -> None:
    """Offer the files of a folder, which are named by the digests; also those that come later."""
    _FOLDERS.append(folder)
    _answer()


@contextmanager
def sources_only() -> Iterator[None]:
    """Have TVM keep sources as they are while it builds a module, as where its runtime is absent.

    Where the runtime is loaded, which a module that ran has done, it would ask for binaries.
    """
    import tvm_ffi

    make = tvm_ffi.get_global_func(_MAKE_MODULE, allow_missing=True)
    if make is None:
        yield
        return
    tvm_ffi.remove_global_func(_MAKE_MODULE)
    try:
        yield
    finally:
        tvm_ffi.register_global_func(_MAKE_MODULE, make, override=True)


@functools.cache
def _answer() -> None:
    """Answer TVM's runtime."""
    import tvm_ffi

    tvm_ffi.register_global_func("tvm_callback_cuda_compile", _find, override=True)


def _find(source: str) -> bytes:
    digest = digest_of(source)
    if digest in _BINARIES:
        return _BINARIES[digest]
    for folder in _FOLDERS:
        path = folder / f"{digest}{SUFFIX}"
        if path.is_file():
            return path.read_bytes()
    raise ModuleError("the module's kernels were not compiled: compile it again")
