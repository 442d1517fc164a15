"""The C++ compilers that assemble and link modules, for this machine and for others.

For another architecture the first that is there is taken: the compiler that the variable
``CXX_<triple>`` names (``CXX_aarch64_linux_gnu``), for Android that of its NDK (variable
``ANDROID_NDK_HOME``), a GNU cross compiler (``aarch64-linux-gnu-g++``), Clang from the PyPI package
``ziglang``.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dcc.errors import CompileError, TargetError
from dcc.targets.processor import architecture

Command = tuple[str, ...]

_USUAL_NAMES = ("c++", "g++", "clang++")
_NDK_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")
_ANDROID_LEVEL = 24
"""Android 7.0, the oldest that current NDKs support for every 64-bit phone."""
_ZIG_GLIBC = "2.28"
"""That of TVM's own wheels."""


def find_compiler() -> str:
    """Find the C++ compiler: ``$CXX`` if set, else the first of ``c++``, ``g++`` and ``clang++``.

    Raises
    ------
    TargetError
        There is none.
    """
    asked = os.environ.get("CXX")
    for name in (asked,) if asked else _USUAL_NAMES:
        path = shutil.which(name)
        if path:
            return path
    if asked:
        raise TargetError(
            f"the C++ compiler '{asked}' (variable CXX) was not found: correct or unset CXX"
        )
    raise TargetError(
        f"no C++ compiler was found (tried {', '.join(_USUAL_NAMES)}): "
        "install one (such as the package g++) or set CXX"
    )


def compiler_for(triple: str) -> Command:
    """Command of the C++ compiler for a target triple; empty: for this machine.

    Raises
    ------
    TargetError
        There is none; the message names what would do.
    """
    if not triple or is_native(triple):
        return (find_compiler(),)
    return _cross_compiler(triple)


def run_compiler(arguments: Sequence[str | Path], purpose: str, triple: str = "") -> None:
    """Run the compiler for ``triple``.

    Raises
    ------
    CompileError
        It failed; the message ends with the last lines of what it printed.
    TargetError
        There is no compiler.
    """
    command = compiler_for(triple)
    result = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        output = "\n".join((result.stderr or result.stdout).strip().splitlines()[-10:])
        raise CompileError(
            f"the C++ compiler failed while {purpose} ({' '.join(command)}):\n{output}"
        )


def objects_triple(triple: str) -> str:
    """Triple whose compiler makes objects for ``triple`` that need no C library.

    Android's own where its NDK is there, else that of Linux for the same processor: calls and data
    are alike.

    Raises
    ------
    TargetError
        There is no compiler.
    """
    try:
        compiler_for(triple)
    except TargetError:
        linux = linux_triple(triple)
        if linux == triple:
            raise
        compiler_for(linux)
        return linux
    return triple


def linux_triple(triple: str) -> str:
    """Triple of Linux for the processor of an Android triple; of others, the same.

    Calls and data are alike: kernels, which need ``memset`` at most, run with Linux's C library.
    """
    return triple.replace("-android", "-gnu")


def archiver_for(triple: str) -> Command:
    """Command that makes static libraries for ``triple``: the ``ar`` of its compiler.

    Raises
    ------
    TargetError
        There is no compiler.
    """
    compiler = compiler_for(triple)
    if "ziglang" in compiler:
        return (*compiler[: compiler.index("ziglang") + 1], "ar")
    asked = subprocess.run(
        [*compiler, "-print-prog-name=ar"], capture_output=True, text=True, check=False
    )
    return (shutil.which(asked.stdout.strip()) or "ar",)


def is_native(triple: str) -> bool:
    """Whether this machine's own compiler makes code for ``triple``."""
    return "android" not in triple and triple.partition("-")[0] == architecture()


def _cross_compiler(triple: str) -> Command:
    variable = f"CXX_{triple.replace('-', '_')}"
    asked = shlex.split(os.environ.get(variable, ""))
    if asked:
        path = shutil.which(asked[0])
        if path is None:
            raise TargetError(
                f"the C++ compiler '{asked[0]}' (variable {variable}) was not found: "
                f"correct or unset {variable}"
            )
        return (path, *asked[1:])
    for found in (_from_ndk(triple), _from_gnu(triple), _from_zig(triple)):
        if found is not None:
            return found
    raise TargetError(_nothing_found(triple, variable))


def _from_ndk(triple: str) -> Command | None:
    if "android" not in triple:
        return None
    wrong = []
    for variable in _NDK_VARIABLES:
        folder = os.environ.get(variable)
        if not folder:
            continue
        place = f"toolchains/llvm/prebuilt/*/bin/{triple}{_ANDROID_LEVEL}-clang++"
        found = sorted(Path(folder).glob(place))
        if found:
            return (str(found[0]),)
        wrong.append((variable, folder, place))
    if wrong:
        variable, folder, place = wrong[0]
        raise TargetError(
            f"the folder '{folder}' (variable {variable}) is no NDK of Android (it lacks {place}): "
            f"correct or unset {variable}"
        )
    return None


def _from_gnu(triple: str) -> Command | None:
    path = shutil.which(f"{triple}-g++")
    return (path,) if path else None


def _from_zig(triple: str) -> Command | None:
    """Clang within Zig; it has the C libraries of Linux, not Android's."""
    if "android" in triple or importlib.util.find_spec("ziglang") is None:
        return None
    return (sys.executable, "-m", "ziglang", "c++", "-target", f"{triple}.{_ZIG_GLIBC}")


def _nothing_found(triple: str, variable: str) -> str:
    if "android" in triple:
        return (
            f"no compiler for {triple} was found: set {_NDK_VARIABLES[0]} to the folder of "
            f"Android's NDK, or {variable} to a C++ compiler"
        )
    return (
        f"no compiler for {triple} was found: install {triple}-g++ (Debian, Ubuntu: the package "
        f"g++-{triple}), or 'pip install ziglang' (the extra 'arm'), or set {variable} to a C++ "
        "compiler"
    )
