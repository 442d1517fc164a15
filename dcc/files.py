"""Writing files so that the old one stays until the new one is complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from dcc.errors import OutputError


def refuse_same_file(output: str | PathLike[str], source: str | PathLike[str]) -> None:
    """Refuse to write over what is read.

    Raises
    ------
    OutputError
        ``output`` is there and is the same file as ``source``.
    """
    with suppress(OSError):
        if Path(output).samefile(source):
            raise OutputError(
                f"cannot write {output}: it is the file that is read; choose another name"
            )


def check_writable(path: str | PathLike[str]) -> None:
    """Refuse a place that cannot be written to, before the work whose result would go there.

    Raises
    ------
    OutputError
        ``path`` is there and not a plain file, or its folder is missing or closed.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise OutputError(
            f"cannot write {path}: it exists and is not a plain file; choose another name"
        )
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {target.parent}; make it first")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: the folder {target.parent} may not be written to")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a new path beside ``path``; what is written there becomes ``path`` at the end.

    The temporary file keeps the suffixes of ``path``, by which linkers tell formats. On any error
    it is removed and the old file stays.

    Raises
    ------
    OutputError
        If the operating system refuses to write, or ``path`` is there and not a plain file.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f".{secrets.token_hex(6)}.{target.name}")
    try:
        if target.exists() and not target.is_file():
            raise OutputError(
                f"cannot write {path}: it exists and is not a plain file; choose another name"
            )
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; "
            "nothing was changed, check the folder and its free space"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes ``path`` when it is complete; see :func:`atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        yield file
