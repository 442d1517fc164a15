"""The basic blocks and loops of a function in assembly text for aarch64, as LLVM prints it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from dcc.errors import CompileError

_LABEL = re.compile(r"^([\w.$]+):")
_INSTRUCTION = re.compile(r"^\s+([a-z][\w.]*)\b([^/]*)")
_BRANCHES = re.compile(r"^(b|b\..*|cbn?z|tbn?z|br|ret)$")
_ENDS = ("b", "br", "ret")
"""Behind these the next instruction is not reached."""


@dataclass
class Block:
    """Instructions that run one after another.

    Attributes
    ----------
    line
        Number of the first line of the block in the text, behind its label.
    loop
        Number of the innermost loop that holds it; -1: none.
    """

    line: int
    label: str = ""
    instructions: list[str] = field(default_factory=list)
    target: str = ""
    loop: int = -1


@dataclass(frozen=True)
class AssemblyFunction:
    """A function of an assembly file."""

    name: str
    lines: tuple[str, ...]
    blocks: tuple[Block, ...]


def read_function(text: str, name: str) -> AssemblyFunction:
    """Read function ``name`` of an assembly file.

    Raises
    ------
    CompileError
        There is no such function.
    """
    lines = _without_debug(text)
    try:
        first = lines.index(f"{name}:")
    except ValueError:
        raise CompileError(f"the assembly has no function '{name}'") from None
    last = next(
        (n for n in range(first, len(lines)) if lines[n].startswith(".Lfunc_end")), len(lines)
    )
    blocks = _blocks(lines, first + 1, last)
    _find_loops(blocks)
    return AssemblyFunction(name, tuple(lines), tuple(blocks))


def _without_debug(text: str) -> list[str]:
    """Lines without what is for debuggers: assemblers differ in how they write it."""
    kept, debug = [], False
    for line in text.splitlines():
        word = line.split(maxsplit=2)
        if word and word[0] in (".section", ".text", ".data", ".bss"):
            debug = len(word) > 1 and word[1].startswith(".debug")
        if not debug and not (word and word[0] in (".loc", ".file")):
            kept.append(line)
    return kept


def _blocks(lines: list[str], first: int, last: int) -> list[Block]:
    blocks = [Block(first)]
    for number in range(first, last):
        label = _LABEL.match(lines[number])
        if label is not None and not label.group(1).startswith((".Ltmp", ".Lfunc")):
            blocks.append(Block(number + 1, label.group(1)))
            continue
        found = _INSTRUCTION.match(lines[number])
        if found is None:
            continue
        blocks[-1].instructions.append(found.group(0).strip())
        if _BRANCHES.match(found.group(1)):
            blocks[-1].target = found.group(2).strip().rpartition(" ")[2]
            blocks.append(Block(number + 1))
    return [block for block in blocks if block.instructions]


def _find_loops(blocks: list[Block]) -> None:
    """Note the innermost loop of each block: a range of the text that ends in a jump back."""
    places = {block.label: number for number, block in enumerate(blocks) if block.label}
    ranges = [
        (places[block.target], number)
        for number, block in enumerate(blocks)
        if block.target in places and places[block.target] <= number
    ]
    # Long ranges first, so that shorter ones, which lie inside, overwrite them.
    for index, (first, last) in enumerate(sorted(ranges, key=lambda r: r[0] - r[1])):
        for block in blocks[first : last + 1]:
            block.loop = index
