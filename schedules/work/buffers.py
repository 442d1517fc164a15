"""The buffers of a kernel: parameters, what it allocates, and tables that it fills with numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
import tvm_ffi
from tvm import tirx as tir

from dcc.schedules.work.nest import Place

Array = npt.NDArray[Any]


class Buffers:
    """Knows each buffer of a kernel by its variable.

    Attributes
    ----------
    places
        All of them, by number.
    known
        Number -> contents, where they are constants.
    """

    def __init__(
        self, function: tir.PrimFunc, data: Mapping[int, Array], register_bytes: float
    ) -> None:
        self.places: list[Place] = []
        self.known: dict[int, Array] = {}
        self._register_bytes = register_bytes
        self._by_variable: dict[Any, Place] = {}
        self._stored, self._tables = _stored(function.body)
        for number, parameter in enumerate(function.params):
            if hasattr(parameter.ty, "shape"):
                place = self.declare(parameter, parameter=number)
                if number in data:
                    self.known[place.number] = data[number]

    def knows(self, variable: Any) -> bool:
        """Whether a variable is a buffer that was declared."""
        return variable in self._by_variable

    def place_of(self, buffer: Any) -> Place:
        """Return what is known of a buffer."""
        return self._by_variable[buffer] if self.knows(buffer) else self.declare(buffer)

    def declare(self, buffer: Any, parameter: int | None = None, root: int | None = None) -> Place:
        """Note a buffer; with ``root``, one that shares the memory of another."""
        kind = buffer.ty
        element = tvm.DataType(str(kind.dtype))
        shape = tuple(int(n) if isinstance(n, int | tir.IntImm) else 1 for n in kind.shape)
        number = len(self.places)
        item = element.bits * element.lanes / 8
        place = Place(number, buffer.name, shape, item, number if root is None else root, parameter)
        place.written = buffer in self._stored and buffer not in self._tables
        if buffer in self._tables:
            self.known[number] = self._tables[buffer]
        if root is not None:
            origin = self.places[root]
            place.register, place.parameter = origin.register, origin.parameter
            place.written = origin.written = place.written or origin.written
        elif parameter is None:
            place.local = str(kind.storage_scope).startswith(("local", "wmma"))
            place.register = place.local and place.nbytes <= self._register_bytes
        self._by_variable[buffer] = place
        self.places.append(place)
        return place


def _stored(body: Any) -> tuple[set[Any], dict[Any, Array]]:
    """Buffers that a kernel writes; those among them that are tables of numbers, with these."""
    stores: dict[Any, list[Any]] = {}

    def visit(store: Any) -> None:
        stores.setdefault(store.buffer, []).append(store)

    tvm_ffi.structural_walk(body, (tir.BufferStore, visit))
    tables = {}
    for buffer, found in stores.items():
        table = _table(found) if len(buffer.ty.shape) == 1 else None
        if table is not None:
            tables[buffer] = table
    return set(stores), tables


def _table(stores: Sequence[Any]) -> Array | None:
    """Contents of a buffer that is only filled with numbers, each place once."""
    numbers = [
        (int(store.indices[0]), int(store.value))
        for store in stores
        if isinstance(store.value, tir.IntImm) and isinstance(store.indices[0], tir.IntImm)
    ]
    places = [place for place, _ in numbers]
    if len(numbers) < len(stores) or sorted(places) != list(range(len(places))) or len(places) < 2:
        return None
    return np.asarray([value for _, value in sorted(numbers)], np.int64)
