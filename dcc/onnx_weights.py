"""The weights of an ONNX model: reading it, finding them, taking them out and putting them back.

Weights are the initialisers and the tensors of ``Constant`` nodes, in the graph, its subgraphs and
the model's functions, in that order of traversal. Strings, sparse initialisers and the scalar
attributes of ``Constant`` stay in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, numpy_helper

from dcc.errors import ModelError

_DATA_FIELDS = [
    "raw_data",
    "float_data",
    "int32_data",
    "int64_data",
    "double_data",
    "uint64_data",
    "external_data",
    "data_location",
]
_QUANTISED = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "ConvInteger",
    "MatMulInteger",
)
_PROTOBUF_LIMIT = (1 << 31) - 1


def load_model(path: str | Path) -> onnx.ModelProto:
    """Read and check an ONNX model, external data included.

    Raises
    ------
    ModelError
        If the file is missing, truncated, malformed or quantised, or its external data are.
    """
    path = Path(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError, ValueError) as error:
        raise ModelError(_unreadable(path, error)) from error
    if not model.graph.node and not model.graph.output:
        raise ModelError(f"{path} holds no ONNX graph; expected a complete .onnx file")
    _check_not_quantised(model, path)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
        if model.ByteSize() <= _PROTOBUF_LIMIT:
            onnx.checker.check_model(model)
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path} is not a valid ONNX model: {_first_line(error)}; "
            "export it again or run onnx.checker on it"
        ) from error
    for name, tensor in weight_tensors(model).items():
        array_of(tensor, name)
    return model


def array_of(tensor: onnx.TensorProto, name: str = "") -> np.ndarray:
    """Values of a tensor.

    Raises
    ------
    ModelError
        If its data do not fit its shape and type.
    """
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OSError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"tensor {name or tensor.name!r} with shape {list(tensor.dims)}: its data do not fit "
            f"({_first_line(error)}); the model is damaged, export it again"
        ) from error


def weight_tensors(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return every weight by name, in order; the tensors are those of ``model``, not copies.

    A ``Constant`` bears the name of its output. Where scopes reuse a name, the later ones get
    ``#2``, ``#3``, ...
    """
    found: dict[str, onnx.TensorProto] = {}
    for name, tensor in _walk(model):
        key, copies = name, 1
        while key in found:
            copies += 1
            key = f"{name}#{copies}"
        found[key] = tensor
    return found


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy of ``model`` whose weights have names, shapes and types but no data."""
    stripped = onnx.ModelProto()
    stripped.CopyFrom(model)
    for tensor in weight_tensors(stripped).values():
        clear_data(tensor)
    return stripped


def clear_data(tensor: onnx.TensorProto) -> None:
    """Remove the data of a tensor, wherever they are."""
    for field in _DATA_FIELDS:
        tensor.ClearField(field)


def restore(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Copy of a stripped ``model`` with ``arrays`` by the names of :func:`weight_tensors`.

    Raises
    ------
    ModelError
        If a weight is missing or has another shape or type than the graph says.
    """
    restored = onnx.ModelProto()
    restored.CopyFrom(model)
    for name, tensor in weight_tensors(restored).items():
        if name not in arrays:
            raise ModelError(f"weight {name!r} of the graph is missing; got {len(arrays)} weights")
        dense = numpy_helper.from_array(arrays[name])
        if list(dense.dims) != list(tensor.dims) or dense.data_type != tensor.data_type:
            raise ModelError(
                f"weight {name!r}: got {arrays[name].dtype}{list(dense.dims)}, the graph expects "
                f"{type_name(tensor.data_type)}{list(tensor.dims)}"
            )
        clear_data(tensor)
        tensor.raw_data = dense.raw_data
    return restored


def type_name(data_type: int) -> str:
    """Readable name of an ONNX element type."""
    known = data_type in onnx.TensorProto.DataType.values()
    return onnx.TensorProto.DataType.Name(data_type).lower() if known else f"type {data_type}"


def _walk(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    yield from _walk_graph(model.graph)
    for function in model.functions:
        yield from _walk_nodes(function.node)


def _walk_graph(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.STRING:
            yield tensor.name, tensor
    yield from _walk_nodes(graph.node)


def _walk_nodes(nodes: list[onnx.NodeProto]) -> Iterator[tuple[str, onnx.TensorProto]]:
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value" and attribute.HasField("t"):
                if attribute.t.data_type != onnx.TensorProto.STRING:
                    yield (node.output[0] if node.output else ""), attribute.t
            elif attribute.HasField("g"):
                yield from _walk_graph(attribute.g)
            for graph in attribute.graphs:
                yield from _walk_graph(graph)


def _check_not_quantised(model: onnx.ModelProto, path: Path) -> None:
    for node in model.graph.node:
        if node.op_type in _QUANTISED or node.op_type.startswith("QLinear"):
            raise ModelError(
                f"{path} is quantised: node {node.name or node.output[0]!r} is a {node.op_type}; "
                "dcc compresses float weights, so give it the model from before quantisation"
            )


def _unreadable(path: Path, error: Exception) -> str:
    from dcc.container import is_container  # which is built on this module

    if path.is_file() and is_container(path):
        return (
            f"{path} is a compressed container, expected an ONNX model; "
            f"'dcc decompress {path} -o {path.with_suffix('.onnx').name}' makes one of it"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"cannot read the ONNX model {path}: {reason}; expected a complete .onnx file"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
