"""A compiled layer for VTA and its place in a module: streams, constants, coded weights.

The metadata of a module hold the structure as JSON; arrays stand in the section of weights, and the
JSON says where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dcc.codegen.vta.coded_weights import Chunk, CodedWeight
from dcc.codegen.vta.stream import Stream

Array = npt.NDArray[Any]
Store = Callable[[Array], dict[str, Any]]
"""Puts an array into the section and says where it stands."""
Fetch = Callable[[Mapping[str, Any]], Array]
"""The inverse."""

DEVICE = "vta"


@dataclass(frozen=True)
class Operation:
    """A layer as the device runs it.

    Attributes
    ----------
    name
        The layer's, as the user knows it.
    layer
        Its shape and arithmetic (``dcc.schedules.vta.layers`` as JSON).
    form
        Storage form of the weights; empty where there are none.
    input_shapes, output_shape
        Packed tensors of int8: (batch, channels / 16, height, width, 16).
    streams
        One for each chunk of the weights: those that the host expands one after the other, or that
        one allocation holds.
    constants
        Buffers of the streams by name, besides activations, micro-ops and coded weights.
    order
        Output block, input block, kernel row and column of each stored weight block, ``int16``.
    starts
        First stored block of each stream, and one past the last.
    coded
        The weights, where the host expands them.
    bytes
        Of the weights: dense int8 of the layer's own shape, as blocks without zero ones, and as
        they stand in DRAM.
    """

    name: str
    layer: dict[str, Any]
    form: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    streams: tuple[Stream, ...]
    constants: dict[str, Array]
    order: npt.NDArray[np.int16]
    starts: tuple[int, ...] = (0, 0)
    coded: CodedWeight | None = None
    bytes: dict[str, int] = field(default_factory=dict)

    def to_json(self, store: Store) -> dict[str, Any]:
        """Describe the operation; arrays go to ``store``."""
        return {
            "name": self.name,
            "layer": self.layer,
            "form": self.form,
            "input_shapes": [list(shape) for shape in self.input_shapes],
            "output_shape": list(self.output_shape),
            "streams": [_stream_to_json(stream, store) for stream in self.streams],
            "constants": {name: store(array) for name, array in self.constants.items()},
            "order": store(self.order),
            "starts": list(self.starts),
            "coded": None if self.coded is None else _coded_to_json(self.coded, store),
            "bytes": self.bytes,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], fetch: Fetch) -> Operation:
        """Read an operation back.

        Raises
        ------
        KeyError, TypeError, ValueError
            The metadata are damaged.
        """
        return cls(
            facts["name"],
            dict(facts["layer"]),
            facts["form"],
            tuple(tuple(shape) for shape in facts["input_shapes"]),
            tuple(facts["output_shape"]),
            tuple(_stream_from_json(stream, fetch) for stream in facts["streams"]),
            {name: fetch(place) for name, place in facts["constants"].items()},
            fetch(facts["order"]),
            tuple(facts["starts"]),
            None if facts["coded"] is None else _coded_from_json(facts["coded"], fetch),
            dict(facts["bytes"]),
        )


def _stream_to_json(stream: Stream, store: Store) -> dict[str, Any]:
    labels = list(dict.fromkeys(stream.labels))
    numbers = np.array([labels.index(label) for label in stream.labels], dtype=np.int32)
    return {
        "words": store(stream.words),
        "buffers": list(stream.buffers),
        "places": store(stream.places),
        "micro_ops": store(stream.micro_ops),
        "labels": labels,
        "tiles": store(numbers),
    }


def _stream_from_json(facts: Mapping[str, Any], fetch: Fetch) -> Stream:
    labels = facts["labels"]
    return Stream(
        fetch(facts["words"]),
        tuple(facts["buffers"]),
        fetch(facts["places"]),
        fetch(facts["micro_ops"]),
        tuple(labels[number] for number in fetch(facts["tiles"]).tolist()),
    )


def _coded_to_json(coded: CodedWeight, store: Store) -> dict[str, Any]:
    return {
        "form": coded.form,
        "shape": list(coded.shape),
        "tables": store(coded.tables),
        "chunks": [list(chunk) for chunk in coded.chunks],
        "payloads": [store(payload) for payload in coded.payloads],
        "lengths": store(coded.lengths),
    }


def _coded_from_json(facts: Mapping[str, Any], fetch: Fetch) -> CodedWeight:
    outputs, inputs, rows, columns = facts["shape"]
    return CodedWeight(
        facts["form"],
        (outputs, inputs, rows, columns),
        fetch(facts["tables"]),
        tuple(Chunk(*chunk) for chunk in facts["chunks"]),
        tuple(fetch(place) for place in facts["payloads"]),
        fetch(facts["lengths"]),
    )
