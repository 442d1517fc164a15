"""Running code of another architecture on this machine, by QEMU's user mode."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dcc.errors import TargetError
from dcc.targets.toolchain import is_native

Command = tuple[str, ...]
_SYSTEM_ROOT = "QEMU_LD_PREFIX"


def emulator_for(triple: str) -> Command:
    """Command that runs a program for ``triple`` here; empty where the machine itself does.

    The C library is that of the cross compiler (``/usr/<triple>``), or stands below the folder in
    the variable ``QEMU_LD_PREFIX``.

    Raises
    ------
    TargetError
        There is no emulator, or the triple is Android's, whose C library it lacks.
    """
    if is_native(triple):
        return ()
    architecture = triple.partition("-")[0]
    if "android" in triple:
        raise TargetError(
            f"code for {triple} cannot be emulated here, as Android's C library is missing: "
            "compile for a Linux target of the same processor, or run it on a device"
        )
    path = shutil.which(f"qemu-{architecture}")
    if path is None:
        raise TargetError(
            f"the emulator qemu-{architecture} was not found: install it (Debian, Ubuntu: the "
            "package qemu-user)"
        )
    if os.environ.get(_SYSTEM_ROOT):
        return (path,)
    root = Path("/usr") / triple
    if not (root / "lib").is_dir():
        raise TargetError(
            f"the C library for {triple} was not found in {root}: install the cross compiler "
            f"(Debian, Ubuntu: the package g++-{triple}), or set {_SYSTEM_ROOT} to a folder "
            "that has it"
        )
    return (path, "-L", str(root))
