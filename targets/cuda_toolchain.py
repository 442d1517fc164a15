"""The compiler of CUDA kernels: nvcc where it is there, else NVRTC from PyPI; without a card."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dcc.errors import CompileError, TargetError

MODE = "TVM_CUDA_COMPILE_MODE"
_NVRTC_OPTIONS = "TVM_CUDA_NVRTC_EXTRA_OPTS"
# TVM asks both compilers for approximate division, exponentials and tanh, which err by 1e-6 and
# more; kernels here are not bound by them.
_PRECISE = {
    "TVM_CUDA_NVCC_NO_FAST_MATH": "1",
    _NVRTC_OPTIONS: "--ftz=false --prec-div=true --prec-sqrt=true",
}


def find_device_compiler() -> str:
    """Name the compiler that is there, ``nvcc`` or ``nvrtc``.

    ``TVM_CUDA_COMPILE_MODE`` of the environment decides if it is set.

    Raises
    ------
    TargetError
        There is none.
    """
    chosen = os.environ.get(MODE) or ("nvcc" if shutil.which("nvcc") else "nvrtc")
    if chosen == "nvrtc" and not _has_nvrtc():
        raise TargetError(
            "no compiler for CUDA was found: install NVRTC with "
            "'pip install \".[cuda]\"' in dcc's source tree, or put nvcc on the path"
        )
    return chosen


def compile_cuda(source: str, arch: str) -> bytes:
    """Compile kernels to a binary for cards of ``arch`` (``sm_90``).

    Raises
    ------
    TargetError
        There is no compiler.
    CompileError
        It failed; the message has what it printed last.
    """
    compiler = find_device_compiler()
    from tvm.support import nvcc
    from tvm.target import Target

    try:
        changes = _PRECISE | (_headers() if compiler == "nvrtc" else {})
        with _environment(changes), Target({"kind": "cuda", "arch": arch}):
            binary = nvcc.compile_cuda(source, target_format="cubin", compiler=compiler)
    except (RuntimeError, ValueError, OSError) as error:
        last = "\n".join(str(error).strip().splitlines()[-10:])
        raise CompileError(f"{compiler} failed to compile kernels for {arch}:\n{last}") from error
    return bytes(binary)


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Change the environment, by which alone TVM's compilers can be told, for a while."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _headers() -> dict[str, str]:
    """Say where NVRTC finds CUDA's headers: those from PyPI, unless the user says otherwise."""
    package = importlib.util.find_spec("nvidia")
    folders = [] if package is None else list(package.submodule_search_locations or ())
    found = [p for f in folders for p in Path(f).glob("cu*/include/cuda_runtime.h")]
    if "CUDA_PATH" in os.environ or not found:
        return {}
    include = max(found).parent
    # TVM looks for the C++ library in none of the places where PyPI's packages put it.
    options = f"{_PRECISE[_NVRTC_OPTIONS]} -I{shlex.quote(str(include / 'cccl'))}"
    return {"CUDA_PATH": str(include.parent), _NVRTC_OPTIONS: options}


def _has_nvrtc() -> bool:
    try:
        return importlib.util.find_spec("cuda.bindings") is not None
    except ModuleNotFoundError:
        return False
