"""Converters of single ONNX operators to Relax, where TVM's own are missing, wrong or too general."""

from dcc.importer.converters import convolution, linear, moving, normalization, recurrent
from dcc.importer.converters.registry import find_converter

__all__ = ["convolution", "find_converter", "linear", "moving", "normalization", "recurrent"]
