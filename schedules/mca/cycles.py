"""Cycles of pieces of code on a named core, by ``llvm-mca``.

A piece is taken for the body of a loop: its cycles are those of a repetition in the steady state,
with what one repetition must wait for from the one before. Caches always hit, branches are always
foreseen.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Sequence

from dcc.errors import CompileError, TargetError

ITERATIONS = 100
_NAMES = ("llvm-mca-19", "llvm-mca")
_VARIABLE = "LLVM_MCA"


def find_mca() -> str:
    """Find llvm-mca: the variable ``LLVM_MCA`` if set, else version 19, else any.

    Raises
    ------
    TargetError
        There is none.
    """
    asked = os.environ.get(_VARIABLE)
    for name in (asked,) if asked else _NAMES:
        path = shutil.which(name)
        if path:
            return path
    if asked:
        raise TargetError(
            f"llvm-mca '{asked}' (variable {_VARIABLE}) was not found: correct or unset {_VARIABLE}"
        )
    raise TargetError(
        f"llvm-mca was not found (tried {', '.join(_NAMES)}): install LLVM (Debian, Ubuntu: the "
        f"package llvm-19), or set {_VARIABLE}"
    )


def cycles_of(pieces: Sequence[Sequence[str]], triple: str, model: str) -> list[float]:
    """Cycles of one repetition of each piece, a list of instructions, on the core ``model``.

    Raises
    ------
    TargetError
        llvm-mca is not there.
    CompileError
        It does not understand the code or the core.
    """
    return list(_cycles(tuple(tuple(piece) for piece in pieces), triple, model))


@functools.lru_cache(maxsize=256)
def _cycles(pieces: tuple[tuple[str, ...], ...], triple: str, model: str) -> tuple[float, ...]:
    text = []
    for number, piece in enumerate(pieces):
        text += [f"# LLVM-MCA-BEGIN piece{number}", *piece, f"# LLVM-MCA-END piece{number}"]
    command = [find_mca(), f"-mtriple={triple}", f"-mcpu={model}", "-json"]
    command += [f"-iterations={ITERATIONS}", "-mattr=+fullfp16,+dotprod"]
    done = subprocess.run(
        command, input="\n".join(text) + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[:3]
        raise CompileError(f"llvm-mca failed for {model}: {'; '.join(said)}")
    regions = {each["Name"]: each for each in json.loads(done.stdout)["CodeRegions"]}
    return tuple(
        regions[f"piece{number}"]["SummaryView"]["TotalCycles"] / ITERATIONS
        for number in range(len(pieces))
    )
