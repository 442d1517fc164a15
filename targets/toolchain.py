"""The C++ compiler that assembles and links modules."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dcc.errors import CompileError, TargetError

_USUAL_NAMES = ("c++", "g++", "clang++")


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


def run_compiler(arguments: Sequence[str | Path], purpose: str) -> None:
    """Run the compiler.

    Raises
    ------
    CompileError
        It failed; the message ends with the last lines of what it printed.
    TargetError
        There is no compiler.
    """
    command = [find_compiler(), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        output = "\n".join((result.stderr or result.stdout).strip().splitlines()[-10:])
        raise CompileError(
            f"the C++ compiler failed while {purpose} ({' '.join(command[:1])}):\n{output}"
        )
