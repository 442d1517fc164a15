"""What the importer hands to the passes: a Relax module with its weights as named parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm.ir import IRModule

from dcc.tensor_spec import TensorSpec

__all__ = ["ImportedModel", "TensorSpec"]


@dataclass(frozen=True)
class ImportedModel:
    """An ONNX model in Relax.

    Attributes
    ----------
    module
        One function ``main(inputs..., weights...)`` with static shapes; it returns a tensor, or a
        tuple where the model has several outputs. The weights follow the inputs in the order of
        ``weights``.
    weights
        Relax variable name -> value, in parameter order.
    onnx_names
        Relax variable name -> name of the ONNX initialiser, or of the output of the ``Constant``
        node.
    inputs, outputs
        In the order of the ONNX graph, under their ONNX names.
    """

    module: IRModule
    weights: dict[str, np.ndarray]
    onnx_names: dict[str, str]
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
