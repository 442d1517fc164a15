"""Writing the module after each pass, for ``--dump DIR``."""

from __future__ import annotations

import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path

import tvm

from dcc.errors import OutputError


def observer(folder: str | PathLike[str] | None) -> Callable[[str, tvm.IRModule], None] | None:
    """Write ``NN_PassName.py`` (TVMScript) into ``folder`` for each pass; None observes nothing.

    Raises
    ------
    OutputError
        The folder cannot be made or written.
    """
    if folder is None:
        return None
    target = Path(folder)
    number = 0

    def write(name: str, module: tvm.IRModule) -> None:
        nonlocal number
        number += 1
        path = (
            target / f"{number:02d}_{re.sub(r'[^A-Za-z0-9]+', '_', name.removeprefix('dcc.'))}.py"
        )
        try:
            target.mkdir(parents=True, exist_ok=True)
            path.write_text(module.script(show_meta=False))
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    return write
