"""Integer expressions of a kernel as plain tuples: indices, extents, conditions.

A term is a number, or a tuple that begins with its kind:

    ("loop", n)                     the counter of loop n
    ("load", buffer, (terms))       an element of a buffer that the kernel only reads
    ("unknown", n)                  what the data decide; equal only to itself
    ("ramp", base, stride, lanes)   a vector
    ("add", a, b), ("if", c, a, b)  an operation
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from tvm import tirx as tir

Term: TypeAlias = Any
BINARY: dict[type, str] = {
    tir.Add: "add",
    tir.Sub: "sub",
    tir.Mul: "mul",
    tir.FloorDiv: "div",
    tir.Div: "div",
    tir.FloorMod: "mod",
    tir.Mod: "mod",
    tir.Min: "min",
    tir.Max: "max",
    tir.LShift: "shl",
    tir.RShift: "shr",
    tir.BitwiseAnd: "bits",
    tir.BitwiseOr: "or_bits",
    tir.BitwiseXor: "xor_bits",
    tir.LT: "lt",
    tir.LE: "le",
    tir.GT: "gt",
    tir.GE: "ge",
    tir.EQ: "eq",
    tir.NE: "ne",
    tir.And: "and",
    tir.Or: "or",
}


def simplified(kind: str, a: Term, b: Term) -> Term:
    """Make the term of an operation; fold numbers, drop zeros and ones."""
    if isinstance(a, int) and isinstance(b, int):
        value = _fold(kind, a, b)
        if value is not None:
            return value
    if kind == "add" and (a == 0 or b == 0):
        return b if a == 0 else a
    if kind in ("mul", "div") and b == 1:
        return a
    if kind == "mul" and (a == 1 or a == 0):
        return b if a == 1 else 0
    if kind == "mul" and b == 0:
        return 0
    return (kind, a, b)


def _fold(kind: str, a: int, b: int) -> int | None:
    if kind in ("div", "mod"):
        if b == 0:
            return None
        return a // b if kind == "div" else a % b
    known = {"add": a + b, "sub": a - b, "mul": a * b, "min": min(a, b), "max": max(a, b)}
    known |= {"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "eq": a == b, "ne": a != b}
    known |= {"and": bool(a and b), "or": bool(a or b)}
    return int(known[kind]) if kind in known else None


def parts(term: Term) -> Iterator[Term]:
    """All terms inside of a term, and itself."""
    yield term
    if not isinstance(term, tuple) or term[0] in ("loop", "unknown"):
        return
    inner = term[2] if term[0] == "load" else term[1:]
    for each in inner:
        yield from parts(each)


def loops_of(term: Term) -> frozenset[int] | None:
    """Numbers of the loops that a term depends on; None: the data decide."""
    found = set()
    for part in parts(term):
        if isinstance(part, tuple) and part[0] == "unknown":
            return None
        if isinstance(part, tuple) and part[0] == "loop":
            found.add(part[1])
    return frozenset(found)
