"""How a kernel reads a packed weight: entry by entry, in the order of its streams.

Every storage form looks the same from inside a kernel: slice ``s`` has some steps, and at each step
every lane yields a column and a value. Kernels are written once against this reader; the
entropy-coded form is the same kernel after ``codegen.decode_stage.fold_decode``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from dcc.codegen.code_grid import code_width, codes_per_word
from dcc.codegen.decode_stage import STREAM_ATTRIBUTE
from dcc.codegen.packed import PackedWeight
from dcc.errors import CompileError

Expr: TypeAlias = tir.Expr


def bind(name: str, value: Expr) -> Expr:
    """Name an intermediate value in the kernel."""
    return IRBuilder.name(name, T.Bind(value))


def allocate(name: str, shape: tuple[int, ...], dtype: str, scope: str = "local") -> tir.Buffer:
    """Allocate a buffer in the kernel: on the stack ("local") or from the workspace ("global")."""
    return IRBuilder.name(name, T.alloc_buffer(shape, dtype, scope=scope))


def argument(name: str, shape: tuple[int, ...], dtype: str) -> tir.Buffer:
    """Declare a parameter of the kernel."""
    return T.arg(name, T.buffer(shape, dtype))


def value_dtype(packed: PackedWeight) -> str:
    """Type of the weight's values."""
    name = "codebook" if "codebook" in packed.arrays else "values"
    return packed.arrays[name].dtype.name


@dataclass
class WeightReader:
    """Reads ``packed``, whose entropy-coded fields still stand uncoded in arrays of their own.

    Attributes
    ----------
    accumulator
        Type in which values are multiplied and summed.
    rows_schedule
        Name of the rows kernel that reads so.
    """

    rows_schedule: ClassVar[str] = "rows"

    packed: PackedWeight
    accumulator: str = "float32"
    buffers: dict[str, tir.Buffer] = field(default_factory=dict)

    def declare(self) -> None:
        """Declare the packed arrays as parameters of the kernel, in their order.

        Raises
        ------
        CompileError
            The weight is packed in windows, and this reader cannot read them.
        """
        if self.packed.window and not self.reads_windows:
            raise CompileError(
                f"a weight of {self.packed.rows} x {self.packed.columns} is packed in windows of "
                f"{self.packed.window} columns, which this kernel cannot read; pack it with "
                "Packing(window=0)"
            )
        for name, array in self.packed.arrays.items():
            self.buffers[name] = argument(name, array.shape, array.dtype.name)

    @property
    def reads_windows(self) -> bool:
        """Whether columns may be offsets in windows instead of gaps."""
        return False

    @property
    def every_column(self) -> bool:
        """Whether step ``t`` is column ``t`` in every lane, so that nothing has to be counted."""
        return self.packed.every_column

    def row(self, slice_index: Expr, lane: Expr) -> Expr:
        """Row of a lane; at least the number of rows where a lane of the last slice has none."""
        place = slice_index * self.packed.lanes + lane
        if "order" in self.buffers:
            return bind("row", tir.Cast("int32", self.buffers["order"][place]))
        return bind("row", place)

    def stream(self, slice_index: Expr) -> AbstractContextManager[None]:
        """Region in which the steps of ``slice_index`` are read, from the first on."""
        return T.attr(0, STREAM_ATTRIBUTE, slice_index)

    def steps(self, slice_index: Expr) -> Expr:
        """Count the steps of a slice."""
        if self.every_column:
            return tir.const(self.packed.columns, "int32")
        bases = self.buffers["bases"]
        return bases[slice_index + 1] - bases[slice_index]

    @contextmanager
    def each_lane(self, slice_index: Expr, step: Expr) -> Iterator[tuple[Expr, Expr, Expr]]:
        """Loop over the lanes of a step with (lane, gap, value) of each.

        Where gaps and codes are symbols of their own, all gaps are read before the codes: the order
        of the streams.
        """
        gaps = None
        if len(self.packed.symbols) > 1:
            gaps = allocate("gaps_of_step", (self.packed.lanes,), "int32")
            with T.serial(0, self.packed.lanes) as lane:
                T.buffer_store(gaps, self._symbol("gaps", slice_index, step, lane), [lane])
        with T.serial(0, self.packed.lanes) as lane:
            gap, value = self.read(slice_index, step, lane, None if gaps is None else gaps[lane])
            yield lane, gap, value

    def read(
        self, slice_index: Expr, step: Expr, lane: Expr, gap: Expr | None = None
    ) -> tuple[Expr, Expr]:
        """Read (gap, value) of a lane; the gap is 0 where every column has an entry.

        A ``gap`` that has been read already is passed through.
        """
        code: Expr = tir.const(0, "int32")
        bits = self.packed.code_bits
        if "entries" in self.buffers:
            entry = self._symbol("entries", slice_index, step, lane)
            gap = entry >> bits
            code = entry & ((1 << bits) - 1) if self.packed.gap_bits is not None else entry
        else:
            if "gaps" in self.buffers and gap is None:
                gap = self._symbol("gaps", slice_index, step, lane)
            if "codes" in self.buffers:
                code = self._code(slice_index, step, lane)
        return tir.const(0, "int32") if gap is None else gap, bind(
            "value", tir.Cast(self.accumulator, self._value(code, slice_index, step, lane))
        )

    def _place(self, slice_index: Expr, step: Expr) -> Expr:
        if "bases" in self.buffers:
            return self.buffers["bases"][slice_index] + step
        return slice_index * self.packed.columns + step

    def _symbol(self, name: str, slice_index: Expr, step: Expr, lane: Expr) -> Expr:
        symbol = self.buffers[name][self._place(slice_index, step), lane]
        return bind(name.rstrip("s"), tir.Cast("int32", symbol))

    def _code(self, slice_index: Expr, step: Expr, lane: Expr) -> Expr:
        if self.packed.form != "codebook":
            return self._symbol("codes", slice_index, step, lane)
        bits = self.packed.code_bits
        per_word, width = codes_per_word(bits), code_width(bits)
        word = self.buffers["codes"][slice_index, step // per_word, lane]
        shift = tir.Cast("uint32", step % per_word * width)
        return bind(
            "code", tir.Cast("int32", (word >> shift) & tir.const((1 << width) - 1, "uint32"))
        )

    def _value(self, code: Expr, slice_index: Expr, step: Expr, lane: Expr) -> Expr:
        if "codebook" in self.buffers:
            return self.buffers["codebook"][code]
        if self.packed.form == "dense":
            return self.buffers["values"][slice_index, step, lane]
        return self.buffers["values"][self._place(slice_index, step), lane]
