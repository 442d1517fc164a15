"""The weights of a module as a read-only section of its library, read where the system maps it.

A constant of TVM's virtual machine is copied at load, twice for a time. A section is not: its
pages are read from the file when a kernel touches them, shared by all processes, and cost nothing
before. Kernels reach it by the function ``dcc_weights`` and the weights that were decoded at load
by ``dcc_decoded`` (``T.call_extern("handle", "dcc_weights")`` and a buffer declared over that
pointer). All symbols but the metadata's are hidden, so that modules loaded side by side never see
each other's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dcc.codegen.module_file import METADATA_SECTION, WEIGHTS_SECTION
from dcc.errors import CompileError
from dcc.targets.target import Target
from dcc.targets.toolchain import run_compiler

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""

# Code reaches the section by 32-bit relative addresses.
_MOST_BYTES = 2**31 - 2**26

_SOURCE = """\
__asm__(
    ".section {weights_section},\\"a\\",%progbits\\n"
    ".balign {alignment}\\n"
    "dcc_weights_start:\\n"
    ".incbin \\"{weights}\\"\\n"
    ".section {metadata_section},\\"a\\",%progbits\\n"
    ".balign 8\\n"
    ".globl dcc_metadata\\n"
    ".type dcc_metadata, %object\\n"
    "dcc_metadata:\\n"
    ".incbin \\"{metadata}\\"\\n"
    ".size dcc_metadata, {metadata_size}\\n"
    ".text\\n");

#define HIDDEN __attribute__((visibility("hidden")))
#define EXPORTED __attribute__((visibility("default")))

extern "C" {{
extern HIDDEN const unsigned char dcc_weights_start[];
static unsigned char decoded[{decoded_size}] __attribute__((aligned({alignment})));

EXPORTED extern const unsigned long long dcc_metadata_size = {metadata_size}ull;
HIDDEN void* dcc_weights(void) {{ return (void*)dcc_weights_start; }}
HIDDEN void* dcc_decoded(void) {{ return (void*)decoded; }}
}}
"""


class WeightSection:
    """Collects packed arrays and gives each its place.

    Parameters
    ----------
    prefix : str
        Of the functions that return the addresses of the parts: ``<prefix>_weights`` and
        ``<prefix>_decoded``.

    Attributes
    ----------
    padding : int
        Bytes that alignment has cost so far, in the read-only part.
    size : int
        Bytes of the read-only part.
    decoded_size : int
        Bytes of the writable part, which holds what is decoded at load.
    """

    def __init__(self, prefix: str = "dcc") -> None:
        self.prefix = prefix
        self._arrays: list[npt.NDArray[np.generic]] = []
        self._offsets: list[int] = []
        self.size = 0
        self.padding = 0
        self.decoded_size = 0

    @property
    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """The arrays of the read-only part, in order."""
        return list(self._arrays)

    def add(self, array: npt.NDArray[np.generic], alignment: int = ALIGNMENT) -> int:
        """Append an array (C order, little-endian; kept by reference until assembled).

        Returns
        -------
        int
            Its offset in bytes from ``dcc_weights()``, a multiple of ``alignment``, which divides
            64.
        """
        offset = _round_up(self.size, alignment)
        self.padding += offset - self.size
        self._arrays.append(array)
        self._offsets.append(offset)
        self.size = offset + array.nbytes
        return offset

    def reserve(self, nbytes: int) -> int:
        """Reserve ``nbytes`` of the writable part.

        Returns
        -------
        int
            Offset in bytes from ``dcc_decoded()``, a multiple of 64.
        """
        offset = _round_up(self.decoded_size)
        self.decoded_size = offset + nbytes
        return offset

    def assemble(self, metadata: bytes, target: Target, folder: Path) -> Path:
        """Make the object file that is linked into the module.

        Parameters
        ----------
        metadata : bytes
            JSON (UTF-8) as :func:`dcc.codegen.module_file.read_metadata` gives it back.
        target : Target
            Device of the module; the compiler must produce code for its architecture.
        folder : Path
            An existing folder for the object file and what it is made of.

        Raises
        ------
        CompileError
            The weights take more than a shared library can hold, or the compiler failed.
        TargetError
            There is no C++ compiler.
        """
        if self.size + self.decoded_size > _MOST_BYTES:
            raise CompileError(
                f"the packed weights ({self.size:,} bytes) and those decoded at load "
                f"({self.decoded_size:,} bytes) exceed what one module can hold "
                f"({_MOST_BYTES:,} bytes): choose a smaller storage form"
            )
        weights, metadata_file = folder / "dcc_weights.bin", folder / "dcc_metadata.bin"
        self.write(weights)
        metadata_file.write_bytes(metadata)
        source = folder / "dcc_section.cc"
        source.write_text(
            _SOURCE.format(
                weights_section=WEIGHTS_SECTION,
                metadata_section=METADATA_SECTION,
                alignment=ALIGNMENT,
                weights=_quoted(weights),
                metadata=_quoted(metadata_file),
                metadata_size=len(metadata),
                decoded_size=max(self.decoded_size, 1),
            )
        )
        output = folder / "dcc_section.o"
        run_compiler(
            ["-c", "-O1", "-fPIC", source, "-o", output], "assembling the weights", target.triple
        )
        weights.unlink()
        return output

    def write(self, path: Path) -> None:
        """Write the bytes of the read-only part."""
        with path.open("wb") as file:
            for offset, array in zip(self._offsets, self._arrays, strict=True):
                file.write(bytes(offset - file.tell()))
                little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
                file.write(np.ascontiguousarray(little_endian).reshape(-1).view(np.uint8).data)


def _round_up(size: int, alignment: int = ALIGNMENT) -> int:
    return -(-size // alignment) * alignment


def _quoted(path: Path) -> str:
    """Escape a path twice: for the assembler's string within the compiler's."""
    escaped = str(path.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    return escaped.replace("\\", "\\\\").replace('"', '\\"')
