"""The ``.dcz`` container: an ONNX graph without its weights and one encoded tensor per weight.

Layout (integers are LEB128)::

    magic     4 bytes, version
    recipe    section: JSON, what was asked for
    graph     section: the model as protobuf; its weights have names, but no shapes, types or data
    tensors   section: count; per weight, in the graph's order of traversal: length, bytes
    padding   zero bytes, only behind tensors that are almost nothing but zeros

A section is its length, its bytes and their CRC-32. JSON and graph are compressed by zstd where
that is smaller. A container is untrusted data: nothing in it is executed, and it may ask for memory
only in proportion to its size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import helper

from dcc.codegen.byte_reader import ByteReader, varint
from dcc.codegen.encoded_tensor import EncodedTensor, StorageBytes
from dcc.codegen.raw_values import numpy_dtype
from dcc.container_sections import (
    allowance,
    file_size_for,
    pack_blob,
    read_section,
    section,
    unpack_blob,
)
from dcc.errors import ContainerError, EncodingError, ModelError
from dcc.files import atomic_write
from dcc.onnx_weights import array_of, clear_data, restore, strip, weight_tensors

MAGIC = b"\x93DCZ"
VERSION = 1

_MAX_WEIGHTS = 1 << 20


@dataclass(frozen=True)
class ContainerBytes:
    """Where the bytes of a container go."""

    graph: int
    recipe: int
    framing: int  # magic, lengths, checksums
    padding: int
    tensors: dict[str, StorageBytes]

    @property
    def total(self) -> int:
        """All bytes: the size of the file."""
        weights = sum(storage.total for storage in self.tensors.values())
        return self.graph + self.recipe + self.framing + self.padding + weights


@dataclass(frozen=True)
class Container:
    """A compressed model in memory.

    Attributes
    ----------
    graph
        The ONNX model; its weights have shape and type but no data.
    tensors
        Every weight by the names of :func:`dcc.onnx_weights.weight_tensors`, in that order.
    recipe
        What was asked for; anything that JSON can hold.
    """

    graph: onnx.ModelProto
    tensors: dict[str, EncodedTensor]
    recipe: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @classmethod
    def from_model(
        cls,
        model: onnx.ModelProto,
        tensors: Mapping[str, EncodedTensor] | None = None,
        recipe: dict[str, Any] | None = None,
    ) -> Container:
        """Container of a dense model; weights that are not in ``tensors`` are kept bit for bit.

        Raises
        ------
        ModelError
            If an entry of ``tensors`` does not belong to the model or has another shape or type.
        """
        given = dict(tensors or {})
        encoded: dict[str, EncodedTensor] = {}
        for name, tensor in weight_tensors(model).items():
            chosen = given.pop(name, None)
            if chosen is None:
                chosen = EncodedTensor.from_dense(array_of(tensor, name))
            elif chosen.shape != tuple(tensor.dims) or _onnx_type(chosen) != tensor.data_type:
                raise ModelError(
                    f"weight {name!r}: {chosen!r} does not fit the shape {list(tensor.dims)}"
                )
            encoded[name] = chosen
        if given:
            raise ModelError(f"the model has no weight {next(iter(given))!r}")
        return cls(strip(model), encoded, recipe or {})

    def to_onnx(self) -> onnx.ModelProto:
        """Dense model: the original one with the weights decoded."""
        return restore(self.graph, {name: tensor.decode() for name, tensor in self.tensors.items()})

    def to_bytes(self) -> bytes:
        """Return the contents of the file."""
        sections = (
            section(self._recipe_blob())
            + section(self._graph_blob())
            + section(self._tensor_blob())
        )
        data = MAGIC + varint(self.version) + sections
        return data + bytes(self._padding(len(data)))

    def nbytes(self) -> ContainerBytes:
        """Where the bytes of the file go."""
        recipe, graph, tensors = self._recipe_blob(), self._graph_blob(), self._tensor_blob()
        storage = {name: tensor.nbytes() for name, tensor in self.tensors.items()}
        payload = len(recipe) + len(graph) + sum(part.total for part in storage.values())
        total = len(MAGIC + varint(self.version)) + sum(
            len(section(blob)) for blob in (recipe, graph, tensors)
        )
        return ContainerBytes(
            len(graph), len(recipe), total - payload, self._padding(total), storage
        )

    def write(self, path: str | Path) -> None:
        """Write the file; on an :class:`~dcc.errors.OutputError` the old one stays."""
        data = self.to_bytes()
        with atomic_write(path) as file:
            file.write(data)

    @classmethod
    def from_bytes(cls, data: bytes, max_bytes: int | None = None) -> Container:
        """Read what :meth:`to_bytes` wrote; the data need not be trusted.

        Parameters
        ----------
        max_bytes
            Limit of the memory for all tensors together; None: in proportion to ``data``.

        Raises
        ------
        ContainerError
            If the data are damaged, cut short, of another version or ask for too much memory.
        """
        try:
            return _parse(data, allowance(len(data)) if max_bytes is None else max_bytes)
        except EncodingError as error:
            raise ContainerError(str(error)) from error

    def _recipe_blob(self) -> bytes:
        return pack_blob(json.dumps(self.recipe, separators=(",", ":"), sort_keys=True).encode())

    def _graph_blob(self) -> bytes:
        bare = onnx.ModelProto()
        bare.CopyFrom(self.graph)
        for tensor in weight_tensors(bare).values():
            tensor.ClearField("dims")
            tensor.ClearField("data_type")
        return pack_blob(bare.SerializeToString(deterministic=True))

    def _tensor_blob(self) -> bytes:
        parts = [varint(len(self.tensors))]
        for tensor in self.tensors.values():
            data = tensor.to_bytes()
            parts += [varint(len(data)), data]
        return b"".join(parts)

    def _padding(self, size: int) -> int:
        """Zero bytes by which a file of ``size`` bytes may ask for its tensors' memory."""
        needed = sum(_decoded_bytes(tensor) for tensor in self.tensors.values())
        return max(file_size_for(needed) - size, 0)


def is_container(path: str | Path) -> bool:
    """Whether a file is a container: by its first bytes, or by its name where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError:
        start = b""
    return start == MAGIC or Path(path).suffix == ".dcz"


def read(path: str | Path, max_bytes: int | None = None) -> Container:
    """Read a ``.dcz`` file; see :meth:`Container.from_bytes`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ContainerError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return Container.from_bytes(data, max_bytes)
    except ContainerError as error:
        raise ContainerError(f"{path}: {error}") from error


def _parse(data: bytes, max_bytes: int) -> Container:
    reader = ByteReader(data, "container")
    if reader.remaining < len(MAGIC) or reader.take(len(MAGIC)) != MAGIC:
        raise ContainerError("this is no .dcz container: it does not start with the magic number")
    version = reader.varint()
    if version != VERSION:
        raise ContainerError(
            f"container version {version}, expected {VERSION}; use the dcc that wrote it"
        )
    recipe = _read_recipe(read_section(reader, "recipe"))
    graph = _read_graph(read_section(reader, "graph"))
    tensors = ByteReader(read_section(reader, "tensors"), "tensors")
    if any(reader.rest()):
        raise ContainerError("bytes left over behind the last section; the file is damaged")
    slots = weight_tensors(graph)
    count = tensors.varint(_MAX_WEIGHTS)
    if count != len(slots):
        raise ContainerError(
            f"{count} tensors for {len(slots)} weights of the graph; the file is damaged"
        )
    encoded: dict[str, EncodedTensor] = {}
    for name, slot in slots.items():
        stored = tensors.take(tensors.varint(tensors.remaining))
        try:
            encoded[name] = EncodedTensor.from_bytes(stored, max_bytes)
        except EncodingError as error:
            raise ContainerError(f"weight {name!r}: {error}") from error
        max_bytes -= _decoded_bytes(encoded[name])
        clear_data(slot)
        slot.dims[:] = encoded[name].shape
        slot.data_type = _onnx_type(encoded[name])
    tensors.finish()
    return Container(graph, encoded, recipe, version)


def _read_recipe(blob: bytes) -> dict[str, Any]:
    try:
        recipe = json.loads(unpack_blob(blob))
    except (ValueError, RecursionError) as error:
        raise ContainerError("the recipe is no JSON; the file is damaged") from error
    if not isinstance(recipe, dict):
        raise ContainerError("the recipe is no JSON object; the file is damaged")
    return recipe


def _read_graph(blob: bytes) -> onnx.ModelProto:
    graph = onnx.ModelProto()
    try:
        graph.ParseFromString(unpack_blob(blob))
    except DecodeError as error:
        raise ContainerError("the graph is no ONNX model; the file is damaged") from error
    return graph


def _decoded_bytes(tensor: EncodedTensor) -> int:
    """Memory of a tensor with its mask and codes, counted as in ``deserialize``."""
    return tensor.size * (numpy_dtype(tensor.dtype).itemsize + 2)


def _onnx_type(tensor: EncodedTensor) -> int:
    return int(helper.np_dtype_to_tensor_dtype(numpy_dtype(tensor.dtype)))
