"""Which operation an expression is, by kind and type: ``float_add``, ``integer_multiply``, ..."""

from __future__ import annotations

from typing import Any

from tvm import tirx as tir

_COMPARISONS = (tir.LT, tir.LE, tir.GT, tir.GE, tir.EQ, tir.NE)
_SIMPLE = (tir.Add, tir.Sub, tir.Min, tir.Max, *_COMPARISONS)
_LOGIC = (
    tir.And,
    tir.Or,
    tir.LShift,
    tir.RShift,
    tir.BitwiseAnd,
    tir.BitwiseOr,
    tir.BitwiseXor,
)
_DIVISIONS = (tir.Div, tir.FloorDiv, tir.Mod, tir.FloorMod)
BITS = {"int4": 4, "uint4": 4, "bool": 8}


def type_of(expression: Any) -> str:
    """Element type of an expression, lanes left out."""
    return str(expression.ty.dtype).split("x")[0]


def lanes_of(expression: Any) -> int:
    """Lanes of its vector; 1 for a scalar."""
    return max(int(getattr(expression.ty.dtype, "lanes", 1)), 1)


def family(dtype: str) -> str:
    """``float``, ``half``, ``byte`` or ``integer``."""
    if dtype in ("float32", "float64"):
        return "float"
    if "float" in dtype:
        return "half"
    return "byte" if dtype in ("int8", "uint8", "int4", "uint4") else "integer"


def binary_kind(expression: Any) -> str | None:
    """Kind of a binary operation; None where ``expression`` is none."""
    kind = type(expression)
    if kind in _LOGIC:
        return f"{_whole(family(type_of(expression.a)))}_add"
    operands = family(type_of(expression.a)) if kind in (*_SIMPLE, tir.Mul, *_DIVISIONS) else ""
    if kind in _SIMPLE:
        return f"{operands}_add"
    if kind is tir.Mul:
        return f"{operands}_multiply"
    if kind in _DIVISIONS:
        if operands in ("float", "half"):
            return "special"
        divisor = number_of(expression.b)
        if divisor is None:
            return "special"
        # A power of two is a shift or a mask, another number a multiplication by its inverse.
        return "integer_add" if divisor & (divisor - 1) == 0 else "integer_multiply"
    return None


def _whole(name: str) -> str:
    return name if name == "byte" else "integer"


def number_of(expression: Any) -> int | None:
    """Value of an integer constant, spread over lanes or not."""
    if isinstance(expression, tir.Broadcast):
        return number_of(expression.value)
    return int(expression.value) if isinstance(expression, tir.IntImm) else None


def cast_kind(source: str, target: str) -> str | None:
    """Kind of a conversion; None where it is free: one family, or integers of other widths."""
    floats = [name in ("float", "half") for name in (family(source), family(target))]
    if floats[0] == floats[1] and (not floats[0] or family(source) == family(target)):
        return None
    return "integer_add"


_FREE = ("address_of", "reinterpret", "likely", "ret", "storage_sync", "undef", "assume")


def call_kinds(name: str, intrinsic: str, dtype: str) -> tuple[str, ...]:
    """Kinds of a call's own operations, an element each.

    Parameters
    ----------
    name
        Of the operator, such as ``tirx.exp``.
    intrinsic
        Of LLVM's intrinsic that it calls; empty for others.
    """
    short = name.rsplit(".", 1)[-1]
    if any(free in short for free in _FREE):
        return ()
    kind = family(dtype)
    if "fma" in intrinsic or "fmuladd" in intrinsic or short == "fma":
        return f"{kind}_multiply", f"{kind}_add"
    if intrinsic.startswith("llvm."):
        special = any(part in intrinsic for part in ("sqrt", ".exp", ".log", ".pow", ".sin"))
        return ("special",) if special else (f"{_whole(kind)}_add",)
    if short in ("if_then_else", "shift_left", "shift_right", "abs", "fabs", "copysign", "isnan"):
        return ("integer_add",)
    return ("special",)
