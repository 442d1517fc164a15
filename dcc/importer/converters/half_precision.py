"""Operators of half precision that are computed in single precision, as ONNX Runtime does.

TVM's converters for some mix in float32 constants and fail; its half-precision ``tanh`` is off by
6 % near zero, and sums lose digits.
"""

from __future__ import annotations

from dataclasses import replace

from tvm import relax

from dcc.importer import upstream
from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation


@converter(
    "Elu",
    "HardSigmoid",
    "HardSwish",
    "MeanVarianceNormalization",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Selu",
    "Softplus",
    "Tanh",
    "ThresholdedRelu",
)
def in_single_precision(operation: Operation) -> relax.Expr:
    """Convert by TVM, between casts if the data is float16."""
    if operation.dtype() != "float16":
        return upstream.convert(operation)
    data = operation.emit(relax.op.astype(operation.tensor(0), "float32"))
    single = replace(operation, values=(data, *operation.values[1:]))
    return relax.op.astype(operation.emit(upstream.convert(single)), "float16")
