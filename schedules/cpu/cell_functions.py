"""Sigmoid and tanh of whole vectors, for the cells of recurrences.

LLVM calls the C library for each element of ``exp``; here it is a polynomial, which stays in
registers: ``exp(x) = 2**n * exp(r)`` with ``|r| <= ln(2) / 2`` and the coefficients of the Cephes
library (expf), within 2 ulp.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx as tir

from dcc.codegen.vector_units import spread
from dcc.schedules.cpu.vector_reader import hold
from dcc.schedules.weight_reader import Expr

FLOAT = "float32"
LEAST, MOST = -87.0, 88.0
"""Where ``exp`` is held: both results are finite normal numbers."""
LOG2_E = 1.44269504088896341
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4
"""ln(2) in two parts, so that ``x - n * ln(2)`` is exact."""
COEFFICIENTS = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
EXPONENT_BIAS, MANTISSA_BITS = 127, 23

Function = Callable[[Expr], Expr]


def vector_functions(lanes: int) -> tuple[Function, Function]:
    """Return (sigmoid, tanh) of float32 vectors of ``lanes`` elements; NaN stays NaN."""

    def number(value: float) -> Expr:
        return spread(value, FLOAT, lanes)

    def sigmoid(x: Expr) -> Expr:
        return number(1) / (number(1) + _exp(number(0) - x, lanes))

    def tanh(x: Expr) -> Expr:
        return number(1) - number(2) / (number(1) + _exp(x * number(2), lanes))

    return sigmoid, tanh


def _exp(x: Expr, lanes: int) -> Expr:
    def number(value: float) -> Expr:
        return spread(value, FLOAT, lanes)

    x = hold("exponent", x, FLOAT, lanes)
    above = tir.Select(x < number(LEAST), number(LEAST), x)  # NaN stays
    inside = hold("inside", tir.Select(above > number(MOST), number(MOST), above), FLOAT, lanes)
    ordered = tir.Select(inside > number(LEAST), inside, number(LEAST))  # NaN is no integer
    power = hold("power", tir.floor(ordered * number(LOG2_E) + number(0.5)), FLOAT, lanes)
    rest = inside - power * number(LN2_HIGH) - power * number(LN2_LOW)
    rest = hold("rest", rest, FLOAT, lanes)
    polynomial = number(COEFFICIENTS[0])
    for coefficient in COEFFICIENTS[1:]:
        polynomial = polynomial * rest + number(coefficient)
    polynomial = polynomial * rest * rest + rest + number(1)
    integer = tir.Cast(f"int32x{lanes}", power) + spread(EXPONENT_BIAS, "int32", lanes)
    scale = tir.reinterpret(f"{FLOAT}x{lanes}", integer << spread(MANTISSA_BITS, "int32", lanes))
    return hold("exponential", polynomial * scale, FLOAT, lanes)
