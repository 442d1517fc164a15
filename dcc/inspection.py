"""What a file holds, layer by layer: an ONNX model, a ``.dcz`` container or a compiled module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcc.errors import ModelError
from dcc.layer_report import PARTS, LayerReport, Report

if TYPE_CHECKING:
    from dcc.codegen.encoded_tensor import EncodedTensor, EncodingChoices

_ELF = b"\x7fELF"
_ONNX = b"\x08"
"""Tag of ``ir_version``, the first field that every writer of ONNX writes."""
_OTHERS = {
    "a static library": b"!<arch>\n",
    "a zip archive (.npz, a wheel, PyTorch)": b"PK\x03\x04",
    "a numpy array": b"\x93NUMPY",
}


def inspect(path: str | Path) -> Report:
    """Describe a file by layer.

    Parameters
    ----------
    path
        An ONNX model, a ``.dcz`` container or a module; told apart by ``.dcz`` and by what they
        start with.

    Raises
    ------
    ModelError, ContainerError, ModuleError
        The file is missing or damaged.
    """
    path = Path(path)
    from dcc.container import is_container

    if is_container(path):
        return _inspect_container(path)
    if path.suffix == ".so" or _starts_with(path, _ELF):
        return _inspect_module(path)
    _refuse_others(path)
    return _inspect_onnx(path)


def _refuse_others(path: Path) -> None:
    """Refuse files of other kinds by name, which a reader of ONNX would take for damaged."""
    for kind, magic in _OTHERS.items():
        if _starts_with(path, magic):
            raise ModelError(
                f"'{path}' is {kind}, which has no layers to show: expected an ONNX model, a .dcz "
                "container or a module (.so) of 'dcc compile'"
            )
    if path.suffix != ".onnx" and not _starts_with(path, _ONNX):
        raise ModelError(
            f"'{path}' is of no kind that can be read: expected an ONNX model, a .dcz container or "
            "a module (.so) of 'dcc compile'"
        )


def layer_of_tensor(name: str, tensor: EncodedTensor) -> LayerReport:
    """Describe one tensor of a container."""
    storage = tensor.nbytes()
    choices = tensor.choices
    sizes = {part: int(getattr(storage, part)) for part in PARTS}
    return LayerReport(
        name=name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        density=tensor.density,
        form=_encoding(tensor),
        reason=_reason(tensor, choices),
        bytes={**sizes, "total": int(storage.total)},
        dense_bytes=_dense_bytes(tensor.shape, tensor.dtype),
        weight_bits=choices.code_bits,
        index_bits=choices.gap_bits,
    )


def _encoding(tensor: EncodedTensor) -> str:
    values = "raw values" if tensor.codebook is None else "codebook"
    return values if tensor.mask is None else f"mask, {values}"


def _reason(tensor: EncodedTensor, choices: EncodingChoices) -> str:
    levels = "" if tensor.codebook is None else f"{len(tensor.codebook)} levels"
    coded = ", ".join(choices.entropy_coded)
    coded = f"Huffman-coded: {coded}" if coded else "nothing Huffman-coded"
    return "; ".join(part for part in (levels, coded) if part)


def _inspect_container(path: Path) -> Report:
    from dcc.container import read

    container = read(path)
    layers = [layer_of_tensor(name, tensor) for name, tensor in container.tensors.items()]
    details = {"recipe": dict(container.recipe)}
    return Report(str(path), "container", path.stat().st_size, layers, details=details)


def _inspect_module(path: Path) -> Report:
    from dcc.codegen.module_file import read_metadata, section_sizes

    metadata = read_metadata(path)
    sizes = section_sizes(path)
    parts = {"code": sizes.code, "weights": sizes.weights, "rest": sizes.rest}
    layers = [_layer_of_metadata(layer) for layer in metadata.get("layers", [])]
    names = ("tvm", "target", "source", "inputs", "outputs", "objective", "kernels")
    details = {name: metadata[name] for name in names if name in metadata}
    return Report(str(path), "module", sizes.total, layers, parts, details)


def _layer_of_metadata(layer: Mapping[str, Any]) -> LayerReport:
    sizes = {part: int(layer["bytes"].get(part, 0)) for part in PARTS}
    shape = tuple(layer["shape"])
    dtype = layer.get("dtype", "float32")
    return LayerReport(
        name=layer["name"],
        shape=shape,
        dtype=dtype,
        density=layer["density"],
        form=layer["form"],
        reason=layer["reason"],
        bytes={**sizes, "total": int(layer["bytes"].get("total", sum(sizes.values())))},
        dense_bytes=_dense_bytes(shape, dtype),
        weight_bits=layer.get("weight_bits"),
        index_bits=layer.get("index_bits"),
    )


def _inspect_onnx(path: Path) -> Report:
    from dcc.onnx_weights import array_of, load_model, weight_tensors

    model = load_model(path)
    layers = [
        _layer_of_array(name, array_of(tensor, name))
        for name, tensor in weight_tensors(model).items()
    ]
    return Report(str(path), "onnx", path.stat().st_size, layers)


def _layer_of_array(name: str, array: np.ndarray) -> LayerReport:
    sizes = dict.fromkeys(PARTS, 0) | {"weights": array.nbytes, "total": array.nbytes}
    kept = int(np.count_nonzero(array)) if array.dtype.kind != "O" else array.size
    levels = len(np.unique(array.reshape(-1)[: 1 << 22])) if array.dtype.kind in "fiub" else 0
    return LayerReport(
        name=name,
        shape=array.shape,
        dtype=array.dtype.name,
        density=kept / array.size if array.size else 1.0,
        form="dense",
        reason=f"not compressed; {levels} distinct values" if levels else "not compressed",
        bytes=sizes,
        dense_bytes=array.nbytes,
    )


def _dense_bytes(shape: tuple[int, ...], dtype: str) -> int:
    from dcc.codegen.raw_values import numpy_dtype

    return math.prod(shape) * numpy_dtype(dtype).itemsize


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except FileNotFoundError:
        raise ModelError(
            f"there is no file '{path}'; expected an ONNX model, a .dcz or a .so"
        ) from None
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror}") from None
