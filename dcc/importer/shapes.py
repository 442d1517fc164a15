"""Static shapes of the model's inputs: from the file, from the user, or 1 for a symbolic batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from dcc.errors import ModelError
from dcc.tensor_spec import TensorSpec


def input_specs(
    inputs: Sequence[onnx.ValueInfoProto], shapes: Mapping[str, Sequence[int]] | None
) -> list[TensorSpec]:
    """Fix the shape of every input.

    Parameters
    ----------
    inputs
        Graph inputs without the initialisers among them.
    shapes
        ONNX input name -> full shape; overrides dynamic dimensions only.

    Raises
    ------
    ModelError
        If a dimension beyond the first is dynamic and not given, or ``shapes`` does not fit the
        model.
    """
    shapes = shapes or {}
    names = [proto.name for proto in inputs]
    unknown = sorted(set(shapes) - set(names))
    if unknown:
        raise ModelError(
            f"--shape names '{unknown[0]}', which is no input of the model; its inputs are: "
            + ", ".join(names)
        )
    symbols = _symbol_values(inputs, shapes)
    return [
        TensorSpec(p.name, _input_shape(p, shapes.get(p.name), symbols), _input_dtype(p))
        for p in inputs
    ]


def _symbol_values(
    inputs: Sequence[onnx.ValueInfoProto], shapes: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """Sizes of named dimensions: as given for any input, else 1 for the first dimension of one.

    The same name means the same size in ONNX: the batch of a state (2, batch, 128) follows the
    data's.
    """
    symbols: dict[str, int] = {}
    for proto in inputs:
        dimensions = proto.type.tensor_type.shape.dim
        for dimension, size in zip(dimensions, shapes.get(proto.name, ()), strict=False):
            if dimension.dim_param:
                symbols.setdefault(dimension.dim_param, int(size))
    for proto in inputs:
        dimensions = proto.type.tensor_type.shape.dim
        if dimensions and dimensions[0].dim_param:
            symbols.setdefault(dimensions[0].dim_param, 1)
    return symbols


def _input_dtype(proto: onnx.ValueInfoProto) -> str:
    kind = proto.type.WhichOneof("value")
    element = proto.type.tensor_type.elem_type
    if kind != "tensor_type" or element in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        given = kind if kind != "tensor_type" else "a tensor of strings or of no type"
        raise ModelError(f"input '{proto.name}': expected a tensor of numbers, got {given}")
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(element))
    except KeyError as error:
        raise ModelError(f"input '{proto.name}' has the unknown element type {element}") from error


def _input_shape(
    proto: onnx.ValueInfoProto, given: Sequence[int] | None, symbols: Mapping[str, int]
) -> tuple[int, ...]:
    tensor = proto.type.tensor_type
    if not tensor.HasField("shape"):
        if given is None:
            raise ModelError(
                f"input '{proto.name}' has no shape in the model; give it with --shape "
                f"{proto.name}=1,3,224,224"
            )
        return _checked(proto.name, given)
    dimensions = list(tensor.shape.dim)
    if given is not None and len(given) != len(dimensions):
        raise ModelError(
            f"--shape {proto.name}={_text(given)} has {len(given)} dimensions; the input has "
            f"{len(dimensions)}: ({', '.join(map(_dimension_text, dimensions))})"
        )
    if given is None:
        return tuple(
            _default_dimension(proto.name, axis, dimensions, symbols)
            for axis in range(len(dimensions))
        )
    for axis, (size, dimension) in enumerate(zip(given, dimensions, strict=True)):
        if dimension.dim_value > 0 and dimension.dim_value != size:
            raise ModelError(
                f"--shape {proto.name}={_text(given)}: dimension {axis} is fixed to "
                f"{dimension.dim_value} in the model, got {size}"
            )
    return _checked(proto.name, given)


def _default_dimension(
    name: str,
    axis: int,
    dimensions: Sequence[onnx.TensorShapeProto.Dimension],
    symbols: Mapping[str, int],
) -> int:
    dimension = dimensions[axis]
    if dimension.dim_value > 0:
        return int(dimension.dim_value)
    if dimension.dim_param in symbols:
        return symbols[dimension.dim_param]
    if axis == 0:
        return 1
    example = [str(d.dim_value) if d.dim_value > 0 else "1" for d in dimensions]
    raise ModelError(
        f"input '{name}': dimension {axis} ('{_dimension_text(dimension)}') is dynamic and must be "
        f"fixed; give the whole shape, e.g. --shape {name}={','.join(example)}"
    )


def _checked(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    if any(int(size) < 1 for size in shape):
        raise ModelError(f"--shape {name}={_text(shape)}: every dimension must be at least 1")
    return tuple(int(size) for size in shape)


def _dimension_text(dimension: onnx.TensorShapeProto.Dimension) -> str:
    return dimension.dim_param or str(dimension.dim_value or "?")


def _text(shape: Sequence[int]) -> str:
    return ",".join(map(str, shape))
