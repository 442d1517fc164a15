"""Vector instructions that TVM has no operator for, as LLVM intrinsics.

A unit is chosen by the features of the instruction set and the number of lanes. Where there is
none, kernels loop over the lanes and LLVM vectorises what it can. TVM makes scalar loads of a
vector of indices, hence the gathers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeAlias

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.errors import CompileError

Expr: TypeAlias = tir.Expr
WORD = 4
"""Bytes of a gathered element."""


def spread(value: int | float, like: str, lanes: int) -> Expr:
    """Put a constant of scalar type ``like`` in every lane."""
    return tir.Broadcast(tir.const(value, like), lanes)


def lanes_of(lanes: int) -> Expr:
    """Index all lanes: 0, 1, ..., ``lanes - 1``."""
    return tir.Ramp(0, 1, lanes)


@dataclass(frozen=True)
class VectorUnit(ABC):
    """Instructions on vectors of 32-bit elements.

    Attributes
    ----------
    lanes
        Elements of a vector.
    windows
        Numbers of elements that :meth:`pick` selects from, the best for columns of x first.
    expands
        Whether :meth:`expand` is there.
    byte_entries
        Entries of the table that :meth:`lookup_bytes` holds in registers; 0: it is not there.
    gathers
        Whether :meth:`gather` is faster than scalar loads of the same elements.
    registers
        How many vectors the processor holds.
    window_align
        Windows of x at multiples of so many columns are loaded fastest: what a load across two
        cache lines costs more, against the padding that the alignment costs.
    """

    lanes: int
    windows: tuple[int, ...] = ()
    expands: bool = False
    byte_entries: int = 0
    gathers: bool = True
    registers: int = 16
    window_align: int = 1

    @property
    def tables(self) -> tuple[int, ...]:
        """Sizes of the tables that :meth:`lookup` holds in registers."""
        return self.windows

    def best_window(self, density: float) -> int:
        """Return which of ``windows`` suits the rows of a weight that keeps ``density``."""
        return self.windows[0]

    @abstractmethod
    def gather(self, buffer: tir.Buffer, start: list[Expr | int], index: Expr) -> Expr:
        """Load elements of a 32-bit ``buffer``, ``index`` (int32 vector) behind ``start``."""

    def lookup(self, table: tir.Buffer, index: Expr) -> Expr:
        """Look a local float32 ``table`` up at the low bits of ``index``, without a load.

        Its size is one of ``tables``.
        """
        return self.pick(table, [0], index, int(table.ty.shape[0]))

    def pick(self, source: tir.Buffer, start: list[Expr | int], offset: Expr, columns: int) -> Expr:
        """Select elements of a window of float32 ``source``, without a gather.

        Parameters
        ----------
        start
            First element of the window; all ``columns`` of it are read.
        offset
            Place in the window of each lane's element: int32 vector, of which the low bits count.
        columns
            One of ``windows``.
        """
        raise CompileError(f"{type(self).__name__} has no windows; see `windows` first")

    def expand(self, source: Expr, mask: Expr, otherwise: Expr) -> Expr:
        """Spread the first elements of ``source`` (uint32) over the lanes that ``mask`` sets.

        The other lanes are those of ``otherwise``.
        """
        raise CompileError(f"{type(self).__name__} cannot expand; ask for `expands` first")

    def lookup_bytes(self, table: tir.Buffer, start: int, index: Expr) -> Expr:
        """Look a local uint8 ``table`` up from ``start`` on, at the low bits of ``index``.

        There are :attr:`byte_entries` of them; index and result are uint32 vectors.
        """
        raise CompileError(f"{type(self).__name__} has no byte tables; ask for `byte_entries`")

    def funnel_shift(self, high: Expr, low: Expr, count: Expr) -> Expr:
        """Shift each pair of uint32 right by ``count`` modulo 32, and keep the lower ones."""
        return T.call_llvm_pure_intrin(f"uint32x{self.lanes}", "llvm.fshr", high, low, count)

    def count(self, mask: Expr) -> Expr:
        """Count the lanes that ``mask`` sets; LLVM makes it a population count."""
        wide = tir.Cast(f"int32x{self.lanes}", mask)
        return T.call_llvm_pure_intrin("int32", "llvm.vector.reduce.add", wide)


def _address(buffer: tir.Buffer, start: list[Expr | int]) -> Expr:
    return T.address_of(buffer[tuple(start)])


def _register(buffer: tir.Buffer, start: list[Expr | int], number: int, lanes: int) -> Expr:
    """Load the ``number``-th vector behind ``start``."""
    return buffer[(*start[:-1], tir.Ramp(start[-1] + number * lanes, 1, lanes))]


def _kind(buffer: tir.Buffer) -> str:
    return str(buffer.ty.dtype)


NARROW_DENSITY = 0.095
"""Measured with AVX2: at 9 % windows of 16 are faster, at 10 % those of 8 by 7, at 25 % by 20 %."""


@dataclass(frozen=True)
class Avx512(VectorUnit):
    """AVX-512F, and VBMI for tables of bytes; 16 lanes."""

    lanes: int = 16
    windows: tuple[int, ...] = (32, 16, 64)
    expands: bool = True
    registers: int = 32
    window_align: int = 8

    def gather(self, buffer: tir.Buffer, start: list[Expr | int], index: Expr) -> Expr:
        """``vgatherdps`` and ``vpgatherdd``."""
        kind = _kind(buffer)
        name = "dps" if kind == "float32" else "dpi"
        return T.call_llvm_pure_intrin(
            f"{kind}x16",
            f"llvm.x86.avx512.mask.gather.{name}.512",
            spread(0, kind, 16),
            _address(buffer, start),
            index,
            tir.Broadcast(tir.const(True, "bool"), 16),
            tir.const(WORD, "int32"),
        )

    def pick(self, source: tir.Buffer, start: list[Expr | int], offset: Expr, columns: int) -> Expr:
        """``vpermps`` of 16 columns, ``vpermi2ps`` of 32, two of these and a blend of 64."""
        if columns <= 32:
            return self._permute(source, start, offset, columns)
        low = self._permute(source, start, offset, 32)
        high = self._permute(source, [*start[:-1], start[-1] + 32], offset, 32)
        upper = (offset & spread(32, "int32", 16)) != spread(0, "int32", 16)
        return tir.Select(upper, high, low)

    def _permute(
        self, buffer: tir.Buffer, start: list[Expr | int], index: Expr, elements: int
    ) -> Expr:
        """Permute one or two registers."""
        low = _register(buffer, start, 0, 16)
        if elements == 16:
            return T.call_llvm_pure_intrin(
                "float32x16", "llvm.x86.avx512.permvar.sf.512", low, index
            )
        high = _register(buffer, start, 1, 16)
        return T.call_llvm_pure_intrin(
            "float32x16", "llvm.x86.avx512.vpermi2var.ps.512", low, index, high
        )

    def expand(self, source: Expr, mask: Expr, otherwise: Expr) -> Expr:
        """``vpexpandd``."""
        return T.call_llvm_pure_intrin(
            "uint32x16", "llvm.x86.avx512.mask.expand", source, otherwise, mask
        )

    def lookup_bytes(self, table: tir.Buffer, start: int, index: Expr) -> Expr:
        """``vpermi2b``; of each lane's four bytes only the lowest counts."""
        found = T.call_llvm_pure_intrin(
            "uint8x64",
            "llvm.x86.avx512.vpermi2var.qi.512",
            table[tir.Ramp(start, 1, 64)],
            tir.reinterpret("uint8x64", index),
            table[tir.Ramp(start + 64, 1, 64)],
        )
        return tir.reinterpret("uint32x16", found) & spread(0xFF, "uint32", 16)


@dataclass(frozen=True)
class Avx2(VectorUnit):
    """AVX2, 8 lanes."""

    lanes: int = 8
    windows: tuple[int, ...] = (16, 8)
    expands: bool = True

    def best_window(self, density: float) -> int:
        """Return 8 for dense rows: one permutation instead of two and a blend, more padding."""
        return 8 if density >= NARROW_DENSITY else 16

    def gather(self, buffer: tir.Buffer, start: list[Expr | int], index: Expr) -> Expr:
        """``vgatherdps`` and ``vpgatherdd``; the sign bits of the last vector select the lanes."""
        kind = _kind(buffer)
        scale = tir.const(WORD, "int8")
        if kind == "float32":
            every = tir.reinterpret("float32x8", spread(-1, "int32", 8))
            return T.call_llvm_pure_intrin(
                "float32x8",
                "llvm.x86.avx2.gather.d.ps.256",
                spread(0, kind, 8),
                _address(buffer, start),
                index,
                every,
                scale,
            )
        return T.call_llvm_pure_intrin(
            f"{kind}x8",
            "llvm.x86.avx2.gather.d.d.256",
            spread(0, kind, 8),
            _address(buffer, start),
            index,
            spread(-1, "int32", 8),
            scale,
        )

    def pick(self, source: tir.Buffer, start: list[Expr | int], offset: Expr, columns: int) -> Expr:
        """``vpermps`` of 8 columns, two of them and a blend of 16."""
        low, high = (
            T.call_llvm_pure_intrin(
                "float32x8", "llvm.x86.avx2.permps", _register(source, start, number, 8), offset
            )
            for number in (0, columns // 8 - 1)
        )
        if columns == 8:
            return low
        # The blend looks at the sign.
        upper = (offset << spread(28, "int32", 8)) < spread(0, "int32", 8)
        return tir.Select(upper, high, low)

    def expand(self, source: Expr, mask: Expr, otherwise: Expr) -> Expr:
        """``vpermd`` by how many lanes before each one the mask sets.

        One multiplication sums these up: byte n of the product with 0x01..01 is the sum of the
        bytes 0 to n.
        """
        marks = tir.reinterpret("uint64", tir.Cast("uint8x8", mask))
        up_to_here = marks * tir.const(0x0101010101010101, "uint64")
        before = tir.reinterpret("uint8x8", up_to_here << tir.const(8, "uint64"))
        index = tir.Cast("int32x8", before)
        spread_out = T.call_llvm_pure_intrin("int32x8", "llvm.x86.avx2.permd", source, index)
        return tir.Select(mask, tir.reinterpret("uint32x8", spread_out), otherwise)


@dataclass(frozen=True)
class Neon(VectorUnit):
    """ARM's vectors of 128 bits: tables of bytes in registers, but no gather."""

    lanes: int = 4
    gathers: bool = False
    registers: int = 32

    @property
    def tables(self) -> tuple[int, ...]:
        """One, two and four registers."""
        return (4, 8, 16)

    def gather(self, buffer: tir.Buffer, start: list[Expr | int], index: Expr) -> Expr:
        """Load each element into its lane."""
        return buffer[(*start[:-1], tir.Broadcast(start[-1], 4) + index)]

    def lookup(self, table: tir.Buffer, index: Expr) -> Expr:
        """``tbl`` on the four bytes of each lane's element."""
        size = int(table.ty.shape[0])
        inside = tir.Cast("uint32x4", index & spread(size - 1, "int32", 4))
        places = inside * spread(0x04040404, "uint32", 4) + spread(0x03020100, "uint32", 4)
        registers = [
            tir.reinterpret("uint8x16", _register(table, [0], number, 4))
            for number in range(size // 4)
        ]
        found = T.call_llvm_pure_intrin(
            "uint8x16",
            f"llvm.aarch64.neon.tbl{len(registers)}",
            *registers,
            tir.reinterpret("uint8x16", places),
        )
        return tir.reinterpret("float32x4", found)


def vector_unit(features: frozenset[str], lanes: int) -> VectorUnit | None:
    """Choose the unit that runs ``lanes`` rows in lockstep; None where there is none."""
    if "avx512f" in features and lanes == 16:
        return Avx512(byte_entries=128 if "avx512vbmi" in features else 0)
    if "avx2" in features and lanes == 8:
        return Avx2()
    if "neon" in features and lanes == 4:
        return Neon()
    return None
