"""Converters of ONNX operators to Relax, where TVM's own are missing, wrong or too general."""

from dcc.importer.converters import (
    convolution,
    elementwise,
    half_precision,
    linear,
    moving,
    normalization,
    padding,
    pooling,
    recurrent,
    resizing,
)
from dcc.importer.converters.registry import find_converter

__all__ = [
    "convolution",
    "elementwise",
    "find_converter",
    "half_precision",
    "linear",
    "moving",
    "normalization",
    "padding",
    "pooling",
    "recurrent",
    "resizing",
]
