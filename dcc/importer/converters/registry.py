"""The table of dcc's own converters, which come before TVM's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tvm import relax

from dcc.importer.graph import DEFAULT_DOMAINS
from dcc.importer.operation import Operation

Converter: TypeAlias = "Callable[[Operation], relax.Expr | Sequence[relax.Expr]]"
"""Gives the node's outputs: one tensor, or a sequence of them."""

_CONVERTERS: dict[str, Converter] = {}


def converter(*operators: str) -> Callable[[Converter], Converter]:
    """Register a function for operators of the default ONNX domain."""

    def register(function: Converter) -> Converter:
        for operator in operators:
            _CONVERTERS[operator] = function
        return function

    return register


def find_converter(domain: str, operator: str) -> Converter | None:
    """Own converter of an operator, if there is one."""
    return _CONVERTERS.get(operator) if domain in DEFAULT_DOMAINS else None
