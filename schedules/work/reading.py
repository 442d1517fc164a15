"""Expressions of a kernel: their operations counted, their accesses listed, integers as terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tvm import tirx as tir
from tvm.ir import Call, StringImm, TensorLoad

from dcc.schedules.cuda.blocks import LOAD_WIDTHS
from dcc.schedules.cuda.tensor_core import MULTIPLICATIONS, MULTIPLY
from dcc.schedules.work.nest import Place
from dcc.schedules.work.operations import (
    binary_kind,
    call_kinds,
    cast_kind,
    lanes_of,
    type_of,
)
from dcc.schedules.work.terms import BINARY, Term, simplified

Touch = Callable[[Place, tuple[Term, ...], int, bool], None]
"""``touch(place, indices, lanes, stores)``."""


@dataclass
class ExpressionReader:
    """Reads expressions.

    Attributes
    ----------
    place_of
        The buffer that a variable names.
    touch
        Called for each access that moves bytes.
    operations
        What is counted for the expression at hand.
    """

    place_of: Callable[[Any], Place]
    touch: Touch
    terms: dict[Any, Term] = field(default_factory=dict)
    operations: Counter[str] = field(default_factory=Counter)
    _numbers: Any = field(default_factory=count)

    def unknown(self) -> Term:
        """Make a term that only the data decide."""
        return ("unknown", next(self._numbers))

    def value(self, expression: Any) -> Term:
        """Read what a kernel computes."""
        return self._read(expression, counted=True)

    def index(self, expression: Any) -> Term:
        """Read an index: addresses are computed by the way, but what they load is loaded."""
        return self._read(expression, counted=False)

    def _count(self, kind: str | None, lanes: int, counted: bool) -> None:
        if kind is not None and counted:
            self.operations[kind] += lanes

    def _read(self, expression: Any, counted: bool) -> Term:
        kind = type(expression)
        if kind is tir.IntImm:
            return int(expression.value)
        if kind is tir.Var or kind.__name__ == "Var":
            return self.terms[expression] if expression in self.terms else self.unknown()
        if kind in BINARY:
            a, b = self._read(expression.a, counted), self._read(expression.b, counted)
            if not (isinstance(a, int) and isinstance(b, int)):
                self._count(binary_kind(expression), lanes_of(expression), counted)
            return simplified(BINARY[kind], a, b)
        if kind is TensorLoad:
            return self._load(expression)
        if kind is tir.Ramp:
            base = self._read(expression.base, counted)
            return ("ramp", base, self._read(expression.stride, counted), lanes_of(expression))
        if kind is tir.Broadcast:
            return self._read(expression.value, counted)
        if kind is tir.Cast:
            source, target = type_of(expression.value), type_of(expression)
            inner = self._read(expression.value, counted)
            if not isinstance(inner, int):
                self._count(cast_kind(source, target), lanes_of(expression), counted)
            return inner if "int" in source and "int" in target else self.unknown()
        return self._other(expression, kind, counted)

    def _other(self, expression: Any, kind: type, counted: bool) -> Term:
        if kind is tir.Select:
            terms = [
                self._read(each, counted)
                for each in (expression.condition, expression.true_value, expression.false_value)
            ]
            self._count("integer_add", lanes_of(expression), counted)
            return ("if", *terms)
        if kind in (tir.Not, tir.BitwiseNot):
            inner = self._read(expression.a, counted)
            self._count("integer_add", lanes_of(expression), counted)
            return ("not", inner) if kind is tir.Not else self.unknown()
        if kind is tir.Let:
            self.terms[expression.var] = self._read(expression.value, counted)
            return self._read(expression.body, counted)
        if isinstance(expression, Call):
            return self._call(expression, counted)
        return self.unknown()

    def _load(self, load: Any, moves: bool = True) -> Term:
        place = self.place_of(load.source)
        indices = tuple(self.index(index) for index in load.indices)
        if moves:
            self.touch(place, indices, lanes_of(load), False)
        if place.written or "int" not in type_of(load):
            return self.unknown()
        return ("load", place.number, indices)

    def _call(self, call: Any, counted: bool) -> Term:
        name = str(getattr(call.op, "name", getattr(call.op, "name_hint", "")))
        arguments = list(call.args)
        if name.endswith("cuda.func_call"):
            return self._function_of_a_card(arguments, counted)
        intrinsic = ""
        if "call_llvm" in name or "call_extern" in name or "call_pure_extern" in name:
            first = arguments.pop(0)
            intrinsic = str(getattr(first, "value", first)).strip('"')
            if isinstance(first, tir.IntImm):
                intrinsic = _intrinsic_name(int(first.value))
        terms = []
        for argument in arguments:
            if isinstance(argument, Call) and "address_of" in str(getattr(argument.op, "name", "")):
                terms.append(self._address(argument, intrinsic, lanes_of(call)))
            elif not isinstance(argument, StringImm):
                terms.append(self._read(argument, counted))
        lanes = max([lanes_of(call), *(lanes_of(a) for a in arguments if _is_vector(a))])
        if "gather" not in intrinsic:
            for kind in call_kinds(name, intrinsic, _type_or_handle(call)):
                self._count(kind, lanes, counted)
        if name.endswith("if_then_else") and len(terms) == 3:
            return ("if", *terms)
        return self.unknown()

    def _function_of_a_card(self, arguments: list[Any], counted: bool) -> Term:
        """Read a call of CUDA's source: a load, or a share of a tensor core's instruction."""
        function = str(arguments[0].value)
        if function in LOAD_WIDTHS:
            load, width = arguments[2].args[0], LOAD_WIDTHS[function]
            last = load.indices[-1]
            indices = [*load.indices[:-1], tir.Ramp(last, 1, width) if width > 1 else last]
            terms = tuple(self.index(index) for index in indices)
            self.touch(self.place_of(load.source), terms, width, False)
        elif function == MULTIPLY:
            for kind in ("float_multiply", "float_add"):
                self._count(kind, MULTIPLICATIONS, counted)
        return self.unknown()

    def _address(self, call: Any, intrinsic: str, lanes: int) -> Term:
        """Read an address; of a gather, its elements anywhere in the last axis."""
        load = call.args[0]
        if not isinstance(load, TensorLoad):
            return self.unknown()
        place = self.place_of(load.source)
        indices = [self.index(index) for index in load.indices]
        if "gather" in intrinsic:
            self.touch(place, (*indices[:-1], self.unknown()), lanes, False)
        return self.unknown()


def _is_vector(expression: Any) -> bool:
    return getattr(getattr(expression.ty, "dtype", None), "lanes", 1) > 1


def _type_or_handle(call: Any) -> str:
    return type_of(call) if hasattr(call.ty, "dtype") else "handle"


def _intrinsic_name(number: int) -> str:
    from tvm.target import codegen

    return str(codegen.llvm_get_intrinsic_name(number))
