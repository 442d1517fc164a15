"""What a container says about each of its weights: shape, density, bits, histograms."""

from __future__ import annotations

import numpy as np
import onnx

from dcc.codegen.encoded_tensor import EncodedTensor
from dcc.container import Container
from dcc.importer.graph import read_graph
from dcc.importer.weights import operator_types
from dcc.reporting.facts import CodeUse, Histogram, Layer
from dcc.reporting.stages import stage_bytes

VALUE_BINS = 40
ROW_BINS = 20
_ROW_RANGES = (0.05, 0.1, 0.2, 0.5, 1.0)


def layers_of(container: Container, model: onnx.ModelProto) -> list[Layer]:
    """Describe every weight of a container, in the order of the file; ``model`` reads them."""
    operators = operator_types(read_graph(model.graph))
    return [
        layer_of(name, tensor, operators.get(name, "bias"))
        for name, tensor in container.tensors.items()
    ]


def layer_of(name: str, tensor: EncodedTensor, operator: str) -> Layer:
    """Describe one weight."""
    choices = tensor.choices
    dense = tensor.decode()
    return Layer(
        name=name,
        operator=operator,
        shape=list(tensor.shape),
        dtype=tensor.dtype,
        weights=tensor.size,
        density=tensor.density,
        levels=None if tensor.codebook is None else len(tensor.codebook),
        weight_bits=choices.code_bits,
        index_bits=choices.gap_bits,
        entropy_coded=list(choices.entropy_coded),
        bytes=stage_bytes(tensor),
        codes=code_use(tensor),
        values=value_histogram(tensor, dense),
        row_density=row_density(dense),
    )


def code_use(tensor: EncodedTensor) -> CodeUse | None:
    """Count each value of the codebook among the kept weights; None without a codebook."""
    if tensor.codes is None or tensor.codebook is None:
        return None
    codes = tensor.codes.reshape(-1) if tensor.mask is None else tensor.codes[tensor.mask]
    values = tensor.codebook.astype(np.float64)
    counts = np.bincount(codes, minlength=len(values))
    if tensor.mask is not None:  # code 0 is no value, but what the mask dropped
        values, counts = values[1:], counts[1:]
    order = np.argsort(values, kind="stable")
    return CodeUse(_finite(values[order]), counts[order].tolist())


def value_histogram(tensor: EncodedTensor, dense: np.ndarray) -> Histogram | None:
    """Histogram of the kept values of a float weight without a codebook; None for others."""
    if tensor.codebook is not None or not _is_float(dense):
        return None
    values = dense[tensor.mask] if tensor.mask is not None else dense.reshape(-1)
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        values = values.astype(np.float32)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low):
        return None
    # Numpy widens an empty range by a half to each side; neighbours too close for bins get one.
    bins = VALUE_BINS if high - low > VALUE_BINS * np.spacing(max(abs(low), abs(high))) else 1
    counts, edges = np.histogram(values, bins)
    return Histogram(edges.tolist(), counts.tolist())


def row_density(dense: np.ndarray) -> Histogram | None:
    """Histogram of the share of weights that each row keeps; None for vectors and integers.

    A row is one index of the first axis: an output of a convolution.
    """
    if dense.ndim < 2 or not dense.size or not _is_float(dense):
        return None
    rows = dense.reshape(len(dense), -1)
    shares = np.count_nonzero(rows, axis=1) / rows.shape[1]
    end = next(end for end in _ROW_RANGES if shares.max() <= end)
    counts, edges = np.histogram(shares, ROW_BINS, range=(0.0, end))
    return Histogram(edges.tolist(), counts.tolist())


def _is_float(array: np.ndarray) -> bool:
    # ml_dtypes' types are of kind V.
    return array.dtype.kind == "f" or "float" in array.dtype.name


def _finite(values: np.ndarray) -> list[float]:
    """Say infinity by the largest number and NaN by zero: JSON has neither."""
    return np.nan_to_num(values).tolist()
