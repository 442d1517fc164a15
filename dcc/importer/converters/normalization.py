"""Batch normalisation as a multiply and an add per channel, never folded into a weight."""

from __future__ import annotations

import numpy as np
from tvm import relax

from dcc.importer.converters.registry import converter
from dcc.importer.operation import Operation


@converter("BatchNormalization")
def batch_normalization(operation: Operation) -> relax.Expr:
    """Inference form: ``x * scale + shift`` with ``scale = gamma / sqrt(variance + epsilon)``.

    The two small vectors are computed here in float64 and become constants: the following passes see the
    convolution's weight as it was trained, and the affine map as its epilogue.
    """
    if operation.attribute("training_mode", 0) or operation.attribute("is_test", 1) == 0:
        raise operation.error("training_mode is not supported; export the model for inference")
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        operation.constant(i + 1, name).astype(np.float64) for i, name in enumerate(names)
    )
    scale = gamma / np.sqrt(variance + operation.attribute("epsilon", 1e-5))
    shift = beta - mean * scale
    shape = (1, -1) + (1,) * (operation.rank() - 2)
    dtype = operation.dtype()
    scaled = operation.emit(
        relax.op.multiply(operation.tensor(0), relax.const(scale.reshape(shape), dtype))
    )
    return relax.op.add(scaled, relax.const(shift.reshape(shape), dtype))
