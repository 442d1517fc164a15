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


def take(
    target: tir.Buffer, at: int, source: tir.Buffer, place: Expr, width: int, in_order: bool = False
) -> None:
    """Load ``width`` neighbours to registers."""
    there = place if width == 1 else tir.Ramp(place, 1, width)
    if in_order and load_in_order(target, at, source, [there]):
        return
    kind = FLOAT if width == 1 else f"{FLOAT}x{width}"
    to = tir.const(at, "int32") if width == 1 else tir.Ramp(at, 1, width)
    T.buffer_store(target, tir.Cast(kind, source[there]), [to])


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

    def store(self, half: Expr) -> None:
        """Put what was loaded last into a half of the shared memory."""
        for turn in range(self.turns):
            place = turn * self.tile.threads + self.thread
            line = tir.floordiv(place, self.each_line)
            column = half * self.tile.depth + tir.floormod(place, self.each_line) * self.width
            first = bind("place", column * self.stride + line)
            if (turn + 1) * self.tile.threads <= self.lines * self.each_line:
                self._store(turn, first)
                continue
            with T.If(place < self.lines * self.each_line), T.Then():
                self._store(turn, first)

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
        place, at = line * self.tile.columns + column, turn * self.width
        if self.tile.columns and self.tile.columns % self.tile.depth == 0:
            self._take(at, place)
            return
        with T.If(column < self.tile.columns):
            with T.Then():
                self._take(at, place)
            with T.Else():
                for each_at in range(at, at + self.width):
                    assign(self.held, 0.0, each_at)

    def _take(self, at: int, place: Expr) -> None:
        """Load neighbours to registers."""
        take(self.held, at, self.flat, place, self.width)

    def open(self) -> None:
        """Allocate shared memory and registers."""
        super().open()
        self.open_source()

    def open_source(self) -> None:
        """Declare the operand as an array of one axis."""
        count = int(self.source.ty.shape[0]) * self.tile.columns
        dtype = str(self.source.ty.dtype)
        self.flat = T.decl_buffer((count,), dtype, data=self.source.data)

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
