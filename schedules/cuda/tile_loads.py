"""How a block brings a part of an operand's columns to shared memory: by registers, turned around.

An operand has lines (samples of x, rows of the weight) that lie along the columns in memory; in
shared memory the lines of a column stand side by side. ``load`` only asks for the elements, and
``store`` puts them there when they are needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from tvm import tirx as tir
from tvm.tirx.script import builder as T

from dcc.codegen.code_grid import code_width, codes_per_word
from dcc.schedules.cuda.blocks import assign, barrier, each, load_in_order, shared
from dcc.schedules.cuda.tile import GROUP, Tile
from dcc.schedules.weight_reader import Expr, allocate, bind

FLOAT = "float32"


@dataclass(frozen=True)
class Lines:
    """Values in memory, line by line, that a thread loads to registers.

    Attributes
    ----------
    values
        All of them, as an array of one axis.
    tile
        Has the columns of a line; those behind the last one are loaded as zeros.
    in_order
        Whether loads are CUDA's instructions, see ``load_in_order``.
    """

    values: tir.Buffer
    tile: Tile
    in_order: bool

    def load(self, target: tir.Buffer, at: int, place: Expr, column: Expr, width: int) -> None:
        """Load ``width`` neighbours from ``place`` on, which is a ``column``, to ``target``."""
        if self.tile.columns and self.tile.columns % self.tile.depth == 0:
            self._load(target, at, place, width)
            return
        with T.If(column < self.tile.columns):
            with T.Then():
                self._load(target, at, place, width)
            with T.Else():
                for each_at in range(at, at + width):
                    assign(target, 0.0, each_at)

    def _load(self, target: tir.Buffer, at: int, place: Expr, width: int) -> None:
        there = place if width == 1 else tir.Ramp(place, 1, width)
        if self.in_order and load_in_order(target, at, self.values, [there]):
            return
        kind = FLOAT if width == 1 else f"{FLOAT}x{width}"
        to = tir.const(at, "int32") if width == 1 else tir.Ramp(at, 1, width)
        T.buffer_store(target, tir.Cast(kind, self.values[there]), [to])


def lines_of(source: tir.Buffer, tile: Tile, in_order: bool = False) -> Lines:
    """Declare an operand (lines, columns, ...) as an array of one axis."""
    count = int(source.ty.shape[0]) * tile.columns
    values = T.decl_buffer((count,), str(source.ty.dtype), data=source.data)
    return Lines(values, tile, in_order)


@dataclass
class Loads(ABC):
    """Loads of one operand.

    Attributes
    ----------
    source
        The operand in memory: lines, then what each holds.
    first, lines
        The first line of the block, and how many it has.
    stride
        Elements from a column in shared memory to the next.
    """

    name: str
    source: tir.Buffer
    tile: Tile
    first: Expr
    lines: int
    stride: int
    thread: Expr
    held: tir.Buffer = field(init=False)
    tile_of: tir.Buffer = field(init=False)

    @property
    @abstractmethod
    def width(self) -> int:
        """Columns of one load of a thread."""

    @property
    def depth(self) -> int:
        """Columns that are loaded at a time."""
        return self.tile.depth

    @property
    def each_line(self) -> int:
        """Loads of a line."""
        return self.depth // self.width

    @property
    def turns(self) -> int:
        """Loads of a thread."""
        return -(-self.lines * self.each_line // self.tile.threads)

    def open(self) -> None:
        """Allocate shared memory and registers."""
        size = 2 * self.tile.depth * self.stride
        self.tile_of = shared(f"tile_of_{self.name}", size, FLOAT)
        self.held = self._registers()

    def load(self, column: Expr) -> None:
        """Ask for the columns from ``column`` on."""
        for turn in range(self.turns):
            place = turn * self.tile.threads + self.thread
            line = self.first + tir.floordiv(place, self.each_line)
            here = column + tir.floormod(place, self.each_line) * self.width
            # Lines behind the last one are read as the last one, and never stored.
            inside = tir.min(line, int(self.source.ty.shape[0]) - 1)
            self._load(turn, bind("line", inside), bind("column", here))

    def store(self, half: Expr | int) -> None:
        """Put what was loaded last into a half of the shared memory."""
        for turn in range(self.turns):
            place = turn * self.tile.threads + self.thread
            line = tir.floordiv(place, self.each_line)
            column = tir.floormod(place, self.each_line) * self.width
            first = bind("place", self._place(half, line, column))
            if (turn + 1) * self.tile.threads <= self.lines * self.each_line:
                self._store(turn, first)
                continue
            with T.If(place < self.lines * self.each_line), T.Then():
                self._store(turn, first)

    def _place(self, half: Expr | int, line: Expr, column: Expr) -> Expr:
        """Where a column of a line stands in shared memory."""
        return (half * self.tile.depth + column) * self.stride + line

    @abstractmethod
    def _registers(self) -> tir.Buffer:
        """Allocate what holds a thread's loads until they are stored."""

    @abstractmethod
    def _load(self, turn: int, line: Expr, column: Expr) -> None:
        """Ask for ``width`` columns of a line."""

    @abstractmethod
    def _store(self, turn: int, first: Expr) -> None:
        """Put them into shared memory from ``first`` on, ``stride`` apart."""


@dataclass
class GridLoads(Loads):
    """Loads of values; four at a time where lines are whole groups."""

    @property
    def width(self) -> int:
        """Columns of one load of a thread."""
        return GROUP if self.tile.columns % GROUP == 0 else 1

    def _registers(self) -> tir.Buffer:
        return allocate(f"held_{self.name}", (self.turns * self.width,), FLOAT)

    def _load(self, turn: int, line: Expr, column: Expr) -> None:
        place = line * self.tile.columns + column
        self.lines_of_source.load(self.held, turn * self.width, place, column, self.width)

    def open(self) -> None:
        """Allocate shared memory and registers."""
        super().open()
        self.lines_of_source = lines_of(self.source, self.tile)

    def _store(self, turn: int, first: Expr) -> None:
        for number in range(self.width):
            value = self.held[turn * self.width + number]
            assign(self.tile_of, value, first + number * self.stride)


@dataclass
class CodeLoads(Loads):
    """Loads of words of codes, whose values are looked up when they are stored.

    Attributes
    ----------
    codebook, code_bits
        Values of the codes, and the width of a code.
    """

    codebook: tir.Buffer
    code_bits: int

    @property
    def width(self) -> int:
        """Columns of one load of a thread: a word, or what the part has of it."""
        return min(codes_per_word(self.code_bits), self.tile.depth)

    def open(self) -> None:
        """Allocate shared memory and registers; copy the codebook to shared memory."""
        super().open()
        size = int(self.codebook.ty.shape[0])
        self.values = shared("values_of_codes", size, FLOAT)
        with each(size, self.thread, self.tile.threads) as place:
            assign(self.values, tir.Cast(FLOAT, self.codebook[place]), place)
        barrier()

    def _registers(self) -> tir.Buffer:
        self.columns = allocate("columns_of_words", (self.turns,), "int32")
        return allocate(f"held_{self.name}", (self.turns,), "uint32")

    def _load(self, turn: int, line: Expr, column: Expr) -> None:
        per_word, words = codes_per_word(self.code_bits), int(self.source.ty.shape[1])
        word = tir.min(tir.floordiv(column, per_word), words - 1)
        value = self.source[line, word, tir.const(0, "int32")]
        if per_word > self.width:
            shift = tir.floormod(column, per_word) * code_width(self.code_bits)
            value = value >> tir.Cast("uint32", shift)
        assign(self.held, value, turn)
        assign(self.columns, column, turn)

    def _store(self, turn: int, first: Expr) -> None:
        width = code_width(self.code_bits)
        for number in range(self.width):
            code = self.held[turn] >> tir.const(number * width, "uint32")
            code = code & tir.const((1 << width) - 1, "uint32")
            value = self.values[bind("code", tir.Cast("int32", code))]
            if self.tile.columns % self.tile.depth:
                inside = self.columns[turn] + number < self.tile.columns
                value = tir.if_then_else(inside, value, tir.const(0, FLOAT))
            assign(self.tile_of, value, first + number * self.stride)
