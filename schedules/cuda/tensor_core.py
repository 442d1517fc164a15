"""One step of the tensor cores: a warp multiplies fragments of rows by fragments of samples.

``mma.m16n8k8`` spreads its operands over the 32 threads of a warp. Of thread ``4 * g + t``:

    rows (16 x 8)      (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)
    samples (8 x 8)    (t, g), (t + 4, g)                                   column, sample
    sums (16 x 8)      (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)   row, sample

(PTX ISA, "Matrix Fragments for mma.m16n8k8".) Where there are no such instructions, threads hand
their operands to each other in shared memory: slow, but the same sums of the same places.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tvm import tirx as tir
from tvm.backend.cuda.op import cuda_func_call
from tvm.tirx.script import builder as T

from dcc.schedules.cuda.blocks import assign, barrier, shared
from dcc.schedules.cuda.tensor_tile import (
    AT_ONCE,
    FRAGMENT_COLUMNS,
    FRAGMENT_ROWS,
    FRAGMENT_SAMPLES,
    LOST_BITS,
    MOST_PARTS,
)
from dcc.schedules.weight_reader import Expr, bind

FLOAT = "float32"
ROW_VALUES, SAMPLE_VALUES, SUMS = 4, 2, 4
"""Values of a fragment that a thread has."""
MULTIPLY = "dcc_multiply_tf32"
"""Function of the instruction; ``MULTIPLICATIONS`` is the share of each thread of the warp."""
MULTIPLICATIONS = FRAGMENT_ROWS * FRAGMENT_SAMPLES * FRAGMENT_COLUMNS // 32
_SOURCE = f"""
__forceinline__ __device__ void {MULTIPLY}(
    float* sums, float a0, float a1, float a2, float a3, float b0, float b1) {{
  asm(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{{%0, %1, %2, %3}}, {{%4, %5, %6, %7}}, {{%8, %9}}, {{%0, %1, %2, %3}};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(__float_as_uint(a0)), "r"(__float_as_uint(a1)), "r"(__float_as_uint(a2)),
        "r"(__float_as_uint(a3)), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}}
"""


def nearest(value: Expr) -> Expr:
    """Round to the nearest value of TF32."""
    half, kept = 1 << (LOST_BITS - 1), 0xFFFFFFFF - ((1 << LOST_BITS) - 1)
    bits = T.reinterpret("uint32", value) + tir.const(half, "uint32")
    return T.reinterpret(FLOAT, bits & tir.const(kept, "uint32"))


@dataclass(frozen=True)
class Fragments:
    """A thread's values of some fragments.

    Attributes
    ----------
    parts
        Arrays of the values' parts, the larger part first.
    first, stride
        Where the values of the first fragment start, and from there to those of the next.
    count
        How many fragments there are.
    """

    parts: list[tir.Buffer]
    first: Expr | int
    stride: int
    count: int

    def values(self, part: int, fragment: Expr | int, count: int) -> list[Expr]:
        """Values of a fragment."""
        start = self.first + fragment * self.stride
        return [self.parts[part][start + number] for number in range(count)]


Pairs = list[tuple[int, int]]
"""Parts of rows and samples that are multiplied."""


@dataclass
class TensorCore(ABC):
    """Multiplies fragments in registers.

    Attributes
    ----------
    warps
        Of the block.
    thread
        Number of the thread in the block.
    """

    warps: int
    thread: Expr

    @property
    @abstractmethod
    def at_once(self) -> int:
        """Fragments of samples that are multiplied at once."""

    @abstractmethod
    def loop(self, count: int) -> Iterator[Any]:
        """Emit what follows ``count`` times: each on its own, or in a loop."""

    @abstractmethod
    def multiply(self, sums: tir.Buffer, rows: Fragments, samples: Fragments, pairs: Pairs) -> None:
        """Add the products of all fragments to ``sums`` (row fragments, sample fragments, 4)."""


class MmaCore(TensorCore):
    """The instruction; registers have no numbers that a loop could count."""

    @property
    def at_once(self) -> int:
        """Fragments of samples that are multiplied at once."""
        return AT_ONCE

    def loop(self, count: int) -> Iterator[Any]:
        """Emit what follows ``count`` times."""
        yield from range(count)

    def multiply(self, sums: tir.Buffer, rows: Fragments, samples: Fragments, pairs: Pairs) -> None:
        """Add the products; neighbouring instructions have sums of their own."""
        for row_part, sample_part in pairs:
            for n in range(samples.count):
                for m in range(rows.count):
                    target = tir.address_of(sums[(m * samples.count + n) * SUMS])
                    operands = rows.values(row_part, m, ROW_VALUES)
                    operands += samples.values(sample_part, n, SAMPLE_VALUES)
                    call = cuda_func_call(MULTIPLY, target, *operands, source_code=_SOURCE)
                    T.evaluate(call)


@dataclass
class SharedCore(TensorCore):
    """The same by way of shared memory, on devices without the instruction."""

    scratch: list[tir.Buffer] = field(init=False)

    def __post_init__(self) -> None:
        sizes = FRAGMENT_ROWS * FRAGMENT_COLUMNS, FRAGMENT_SAMPLES * FRAGMENT_COLUMNS
        names = ("fragment_of_rows", "fragment_of_samples")
        self.scratch = [
            shared(name, MOST_PARTS * self.warps * size, FLOAT)
            for name, size in zip(names, sizes, strict=True)
        ]
        lane = tir.floormod(self.thread, 32)
        self.warp = bind("scratch_of_warp", tir.floordiv(self.thread, 32))
        self.group, self.quad = tir.floordiv(lane, 4), tir.floormod(lane, 4)

    @property
    def at_once(self) -> int:
        """Fragments of samples that are multiplied at once."""
        return 1

    def loop(self, count: int) -> Iterator[Any]:
        """Emit what follows in a loop: barriers make long code slow to compile."""
        with T.serial(0, count) as number:
            yield number

    def multiply(self, sums: tir.Buffer, rows: Fragments, samples: Fragments, pairs: Pairs) -> None:
        """Add the products, one pair of fragments after the other."""
        with T.serial(0, rows.count) as m, T.serial(0, samples.count) as n:
            for part in range(len(rows.parts)):
                for i, value in enumerate(rows.values(part, m, ROW_VALUES)):
                    row, column = self.group + 8 * (i % 2), self.quad + 4 * (i // 2)
                    assign(self.scratch[0], value, self._row_place(part, row, column))
            for part in range(len(samples.parts)):
                for i, value in enumerate(samples.values(part, n, SAMPLE_VALUES)):
                    place = self._sample_place(part, self.quad + 4 * i, self.group)
                    assign(self.scratch[1], value, place)
            barrier()
            for pair in pairs:
                self._add_up(sums, (m * samples.count + n) * SUMS, *pair)
            barrier()

    def _add_up(self, sums: tir.Buffer, at: Expr, row_part: int, sample_part: int) -> None:
        for i in range(SUMS):
            row, sample = self.group + 8 * (i // 2), 2 * self.quad + i % 2
            with T.serial(0, FRAGMENT_COLUMNS) as column:
                a = self.scratch[0][self._row_place(row_part, row, column)]
                b = self.scratch[1][self._sample_place(sample_part, column, sample)]
                assign(sums, sums[at + i] + a * b, at + i)

    def _row_place(self, part: int, row: Expr, column: Expr) -> Expr:
        return ((part * self.warps + self.warp) * FRAGMENT_ROWS + row) * FRAGMENT_COLUMNS + column

    def _sample_place(self, part: int, column: Expr, sample: Expr) -> Expr:
        fragment = part * self.warps + self.warp
        return (fragment * FRAGMENT_SAMPLES + sample) * FRAGMENT_COLUMNS + column
