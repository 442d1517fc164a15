"""Reads a compiled module as a file: its metadata and the sizes of its parts; runs none of it.

The few facts needed of the ELF format (System V ABI, chapter 4) are read here with ``struct``,
because the runtime does without any library but numpy. The file is untrusted: each offset is
checked against its length.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcc.errors import ModuleError

FORMAT_VERSION = 1
"""Of the metadata and of the functions a module must have."""
WEIGHTS_SECTION = ".dcc"
METADATA_SECTION = ".dcc_meta"

_MACHINES = {62: "x86_64", 183: "aarch64"}
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_OBJECT, _SHARED_LIBRARY, _NO_BITS = 1, 3, 8
_WRITABLE, _ALLOCATED, _EXECUTABLE = 1, 2, 4
_MOST_METADATA = 1 << 28
_WHAT_TO_DO = "give a module that 'dcc compile' has written"


@dataclass(frozen=True)
class Section:
    """One section of the file: where its bytes lie, and whether they are there and are code."""

    name: str
    offset: int
    size: int
    in_file: bool
    executable: bool
    allocated: bool = True
    writable: bool = False


@dataclass(frozen=True)
class SectionSizes:
    """Bytes of a module's file: machine code, packed weights, the rest (metadata, symbols, ...)."""

    code: int
    weights: int
    rest: int

    @property
    def total(self) -> int:
        """The whole file."""
        return self.code + self.weights + self.rest


@dataclass(frozen=True)
class ModuleFile:
    """What a module says about itself: its processor architecture and its (checked) metadata."""

    architecture: str
    metadata: dict[str, Any]


def read_module(path: str | Path) -> ModuleFile:
    """Read what a module says about itself.

    Raises
    ------
    ModuleError
        The file is missing, no shared library, damaged, not made by dcc, or of another format
        version.
    """
    with _mapped(Path(path)) as data:
        machine, sections = _sections(data, path)
        found = [section for section in sections if section.name == METADATA_SECTION]
        if len(found) != 1 or not found[0].in_file:
            raise ModuleError(
                f"'{path}' is a shared library but not a module of dcc: {_WHAT_TO_DO}"
            )
        if found[0].size > _MOST_METADATA:
            raise ModuleError(
                f"'{path}': metadata of {found[0].size:,} bytes is more than sane: {_WHAT_TO_DO}"
            )
        text = bytes(data[found[0].offset : found[0].offset + found[0].size])
    return ModuleFile(_MACHINES.get(machine, f"machine {machine}"), _metadata(text, path))


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read a module's metadata (see :func:`read_module` for the errors)."""
    return read_module(path).metadata


def read_weights(path: str | Path) -> bytes:
    """Read the packed weights of a module.

    Raises
    ------
    ModuleError
        The file is missing or is no (whole) shared library.
    """
    with _mapped(Path(path)) as data:
        for section in _sections(data, path)[1]:
            if section.name == WEIGHTS_SECTION and section.in_file:
                return bytes(data[section.offset : section.offset + section.size])
    return b""


def object_sizes(path: str | Path) -> tuple[int, int, int]:
    """Bytes of code, of read-only data and of writable data of an object file.

    Raises
    ------
    ModuleError
        The file is missing or is no (whole) object file.
    """
    with _mapped(Path(path)) as data:
        _, sections = _sections(data, path, _OBJECT)
    loaded = [section for section in sections if section.allocated]
    code = sum(section.size for section in loaded if section.executable)
    writable = sum(section.size for section in loaded if section.writable)
    return code, sum(section.size for section in loaded) - code - writable, writable


def section_sizes(path: str | Path) -> SectionSizes:
    """Split the bytes of a module's file into code, weights and the rest.

    Raises
    ------
    ModuleError
        The file is missing or is no (whole) shared library.
    """
    with _mapped(Path(path)) as data:
        _, sections = _sections(data, path)
        total = len(data)
    code = sum(section.size for section in sections if section.executable and section.in_file)
    weights = sum(
        section.size for section in sections if section.name == WEIGHTS_SECTION and section.in_file
    )
    return SectionSizes(code, weights, total - code - weights)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data
    except FileNotFoundError:
        raise ModuleError(f"there is no file '{path}': {_WHAT_TO_DO}") from None
    except (
        OSError,
        ValueError,
    ) as error:  # a folder, no permission; mmap refuses an empty file by ValueError
        raise ModuleError(f"'{path}' cannot be read as a module ({error}): {_WHAT_TO_DO}") from None


def _sections(
    data: mmap.mmap, path: str | Path, wanted: int = _SHARED_LIBRARY
) -> tuple[int, list[Section]]:
    """Machine number and section table."""
    if len(data) < _HEADER.size or data[:4] != b"\x7fELF":
        raise ModuleError(f"'{path}' is not a shared library in ELF format: {_WHAT_TO_DO}")
    header = _HEADER.unpack_from(data)
    kind, machine, table, entry_size, count, names = header[1], header[2], header[6], *header[11:14]
    if data[4] != 2 or data[5] != 1 or kind != wanted or entry_size != _SECTION.size:
        raise ModuleError(f"'{path}' is not a 64-bit little-endian shared library: {_WHAT_TO_DO}")
    if table + count * entry_size > len(data) or names >= count:
        raise ModuleError(f"'{path}' is truncated or damaged (section table): compile it again")
    rows = [_SECTION.unpack_from(data, table + index * entry_size) for index in range(count)]
    for row in rows:
        if row[1] != _NO_BITS and row[4] + row[5] > len(data):
            raise ModuleError(
                f"'{path}' is truncated or damaged (a section leaves the file): compile it again"
            )
    return machine, [_section(data, row, rows[names]) for row in rows]


def _section(data: mmap.mmap, row: tuple[int, ...], names: tuple[int, ...]) -> Section:
    start = names[4] + min(row[0], names[5])
    raw = bytes(data[start : min(start + 64, names[4] + names[5])])
    name = raw.split(b"\0", 1)[0].decode("ascii", "replace")
    allocated = bool(row[2] & _ALLOCATED)
    executable = allocated and bool(row[2] & _EXECUTABLE)
    writable = bool(row[2] & _WRITABLE)
    return Section(name, row[4], row[5], row[1] != _NO_BITS, executable, allocated, writable)


def _metadata(text: bytes, path: str | Path) -> dict[str, Any]:
    try:
        metadata = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModuleError(
            f"'{path}': the metadata is damaged ({error}): compile it again"
        ) from None
    version = metadata.get("format") if isinstance(metadata, dict) else None
    if not isinstance(version, int):
        raise ModuleError(
            f"'{path}': the metadata is damaged (no format version): compile it again"
        )
    if version != FORMAT_VERSION:
        raise ModuleError(
            f"'{path}' has module format {version}, this version of dcc reads {FORMAT_VERSION}: "
            "compile it again"
        )
    wrong = _first_wrong_field(metadata)
    if wrong:
        raise ModuleError(f"'{path}': the metadata is damaged ({wrong}): compile it again")
    return dict(metadata)


def _first_wrong_field(metadata: dict[str, Any]) -> str | None:
    """Name the first field that the runtime needs and that is not as it should be."""
    target = metadata.get("target")
    if not isinstance(metadata.get("tvm"), str):
        return "tvm"
    features = target.get("features") if isinstance(target, dict) else None
    if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
        return "target.features"
    if not isinstance(metadata.get("decode"), bool):
        return "decode"
    if "device" in metadata and not _is_device(metadata["device"]):
        return "device"
    for key in ("inputs", "outputs"):
        specs = metadata.get(key)
        if not isinstance(specs, list) or not all(_is_tensor_spec(spec) for spec in specs):
            return key
    return None


def _is_device(device: object) -> bool:
    """Tell whether ``device`` says where the arrays of a device stand."""
    if not isinstance(device, dict) or not isinstance(device.get("kind"), str):
        return False
    arrays, decode, code = (device.get(key) for key in ("arrays", "decode", "code"))
    return (
        isinstance(arrays, list)
        and isinstance(decode, list)
        and isinstance(code, list)
        and all(isinstance(each, dict) and isinstance(each.get("source"), str) for each in code)
        and all(_is_count(each.get(key)) for each in code for key in ("offset", "size"))
        and all(isinstance(each, dict) and _is_count(each.get("offset")) for each in arrays)
        and all(_is_tensor_spec({"name": "", **each}) for each in arrays)
        and all(_is_count(number) and number < len(arrays) for number in decode)
    )


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _is_tensor_spec(spec: object) -> bool:
    if not isinstance(spec, dict):
        return False
    shape = spec.get("shape")
    return (
        isinstance(spec.get("name"), str)
        and isinstance(spec.get("dtype"), str)
        and isinstance(shape, list)
        and all(
            isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape
        )
    )
