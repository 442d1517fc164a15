"""How operands come to tensor cores: the inputs by shared memory, the weight straight to registers.

The order in which columns are summed up is free. So thread ``4 * g + t`` reads the columns from
``4 * t`` on of a group of 16, four neighbours at once, and takes them for the columns ``t`` and
``t + 4`` of two fragments.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.codegen.code_grid import code_width, codes_per_word
from dcc.schedules.cuda.blocks import assign, barrier, each, load_in_order, shared
from dcc.schedules.cuda.tensor_core import ROW_VALUES, Fragments, nearest
from dcc.schedules.cuda.tensor_tile import FRAGMENT_ROWS, GROUP_COLUMNS, THREAD_COLUMNS, TensorTile
from dcc.schedules.cuda.tile_loads import GridLoads, lines_of
from dcc.schedules.weight_reader import Expr, allocate, bind

FLOAT = "float32"


def split(value: Expr, buffers: list[tir.Buffer], place: Expr | int) -> None:
    """Store the parts of a value."""
    if len(buffers) == 1:
        assign(buffers[0], value, place)
        return
    large = bind("large", nearest(value))
    assign(buffers[0], large, place)
    assign(buffers[1], value - large, place)


@dataclass
class InputLoads(GridLoads):
    """Loads of samples, whose parts stand in shared memory: groups of columns, samples, columns.

    There are two buffers for the two halves of a step: while one is read, the other is written.
    """

    in_order: bool = False
    halves: list[list[tir.Buffer]] = field(init=False)

    @property
    def depth(self) -> int:
        """Columns that are loaded at a time."""
        assert isinstance(self.tile, TensorTile)
        return self.tile.half_depth

    def open(self) -> None:
        """Allocate shared memory and registers."""
        assert isinstance(self.tile, TensorTile)
        self.lines_of_source = lines_of(self.source, self.tile, self.in_order)
        parts, size = range(self.tile.input_parts), self.depth * self.lines
        self.halves = [
            [shared(f"{self.name}_{half}_{part}", size, FLOAT) for part in parts]
            for half in range(2)
        ]
        self.held = self._registers()

    def place(self, group: Expr | int, sample: Expr) -> Expr:
        """Where the columns of a group start, of a sample."""
        return (group * self.lines + sample) * GROUP_COLUMNS

    def store(self, half: Expr | int) -> None:
        """Put what was loaded last into the buffers of a half, a number."""
        self.parts = self.halves[int(half)]
        super().store(half)

    def _place(self, half: Expr | int, line: Expr, column: Expr) -> Expr:
        """Where a column of a line stands in the buffers of its half."""
        group, within = tir.floordiv(column, GROUP_COLUMNS), tir.floormod(column, GROUP_COLUMNS)
        return self.place(group, line) + within

    def _store(self, turn: int, first: Expr) -> None:
        if self.width == 1:
            split(self.held[turn], self.parts, first)
            return
        at = tir.Ramp(turn * self.width, 1, self.width)
        to, value = tir.Ramp(first, 1, self.width), self.held[at]
        if len(self.parts) == 1:
            T.buffer_store(self.parts[0], value, [to])
            return
        # Part by part, so that what stands in shared memory is written as vectors.
        for number in range(self.width):
            each_at = turn * self.width + number
            assign(self.larger, nearest(self.held[each_at]), number)
            assign(self.held, self.held[each_at] - self.larger[number], each_at)
        T.buffer_store(self.parts[0], self.larger[tir.Ramp(0, 1, self.width)], [to])
        T.buffer_store(self.parts[1], self.held[at], [to])

    def _registers(self) -> tir.Buffer:
        self.larger = allocate("larger_parts", (self.width,), FLOAT)
        return super()._registers()


@dataclass
class WeightLoads(ABC):
    """A thread's values of the weight: some lines, four columns of each group of columns.

    Attributes
    ----------
    source
        The weight in memory.
    first_row
        Of the block.
    in_order
        Whether loads are CUDA's instructions, see ``load_in_order``.
    """

    source: tir.Buffer
    tile: TensorTile
    first_row: Expr
    thread: Expr
    in_order: bool
    rows: list[Expr] = field(init=False)
    parts: list[tir.Buffer] = field(init=False)

    def open(self) -> None:
        """Find the lines of the thread and allocate registers."""
        tile, lane = self.tile, tir.floormod(self.thread, 32)
        self.quad = bind("quad", tir.floormod(lane, 4))
        warp = tir.floordiv(self.thread, 32) * (FRAGMENT_ROWS * tile.row_fragments)
        first = bind("first_line", self.first_row + warp + tir.floordiv(lane, 4))
        # Rows behind the last one are read as the last one, and never stored.
        lines = range(0, FRAGMENT_ROWS * tile.row_fragments, FRAGMENT_ROWS // 2)
        self.rows = [bind("line", tir.min(first + line, tile.rows - 1)) for line in lines]
        size = tile.row_fragments * ROW_VALUES * 2 * tile.groups
        self.parts = [allocate(f"rows_{n}", (size,), FLOAT) for n in range(tile.weight_parts)]
        self._open()

    def load(self, column: Expr) -> None:
        """Ask for the columns from ``column`` on."""
        for group in range(self.tile.groups):
            here = column + group * GROUP_COLUMNS + self.quad * THREAD_COLUMNS
            here = bind("column", here)
            for line, row in enumerate(self.rows):
                self._load(group * len(self.rows) + line, row, here)

    def keep(self) -> None:
        """Make what was loaded last the operand."""
        for group in range(self.tile.groups):
            for line in range(len(self.rows)):
                for number in range(THREAD_COLUMNS):
                    value = self._value(group * len(self.rows) + line, number)
                    split(value, self.parts, self._place(group, line, number))

    def fragments(self, group: Expr | int, half: Expr | int) -> Fragments:
        """Return the fragments of a half of a group of columns."""
        count = self.tile.row_fragments
        return Fragments(self.parts, (2 * group + half) * count * ROW_VALUES, ROW_VALUES, count)

    def _place(self, group: int, line: int, number: int) -> int:
        fragment, lower = divmod(line, 2)
        first = (2 * group + number // 2) * self.tile.row_fragments * ROW_VALUES
        return first + fragment * ROW_VALUES + 2 * (number % 2) + lower

    @abstractmethod
    def _open(self) -> None:
        """Allocate what holds a thread's loads."""

    @abstractmethod
    def _load(self, turn: int, row: Expr, column: Expr) -> None:
        """Ask for four columns of a row."""

    @abstractmethod
    def _value(self, turn: int, number: int) -> Expr:
        """One of the four."""


@dataclass
class ValueLoads(WeightLoads):
    """Loads of values; as vectors where rows are whole groups of four."""

    def _open(self) -> None:
        count = self.tile.groups * len(self.rows) * THREAD_COLUMNS
        self.held = allocate("held_rows", (count,), FLOAT)
        self.lines = lines_of(self.source, self.tile, self.in_order)

    def _load(self, turn: int, row: Expr, column: Expr) -> None:
        columns = self.tile.columns
        width = THREAD_COLUMNS if columns % THREAD_COLUMNS == 0 else 1
        for number in range(0, THREAD_COLUMNS, width):
            place, to = row * columns + column + number, turn * THREAD_COLUMNS + number
            self.lines.load(self.held, to, place, column + number, width)

    def _value(self, turn: int, number: int) -> Expr:
        return self.held[turn * THREAD_COLUMNS + number]


@dataclass
class LookupLoads(WeightLoads):
    """Loads of codes, whose values are looked up when they are needed.

    Inputs behind the last column are zero, so that the codes there may be any.
    """

    codebook: tir.Buffer
    code_bits: int

    def _open(self) -> None:
        count = self.tile.groups * len(self.rows)
        self.held = allocate("held_codes", (count,), "uint32")
        self.shifts = allocate("shifts_of_codes", (count,), "uint32")
        size = int(self.codebook.ty.shape[0])
        self.table = shared("values_of_codes", size, FLOAT)
        with each(size, self.thread, self.tile.threads) as place:
            assign(self.table, tir.Cast(FLOAT, self.codebook[place]), place)
        barrier()

    def _load(self, turn: int, row: Expr, column: Expr) -> None:
        per_word, words = codes_per_word(self.code_bits), int(self.source.ty.shape[1])
        word = tir.min(tir.floordiv(column, per_word), words - 1)
        place: list[Expr] = [row, word, tir.const(0, "int32")]
        if not (self.in_order and load_in_order(self.held, turn, self.source, place)):
            T.buffer_store(self.held, self.source[tuple(place)], [turn])
        if per_word > THREAD_COLUMNS:
            shift = tir.floormod(column, per_word) * code_width(self.code_bits)
            assign(self.shifts, tir.Cast("uint32", shift), turn)

    def _value(self, turn: int, number: int) -> Expr:
        width = code_width(self.code_bits)
        word = self.held[turn]
        if codes_per_word(self.code_bits) > THREAD_COLUMNS:
            word = word >> self.shifts[turn]
        code = word >> tir.const(number * width, "uint32")
        code = tir.Cast("int32", code & tir.const((1 << width) - 1, "uint32"))
        return bind("value", self.table[bind("code", code)])
