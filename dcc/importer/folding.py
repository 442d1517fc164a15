"""Evaluation at import of nodes whose inputs are all known.

Shapes are static, so ``Shape`` and everything computed from it is known, too. Weights are never
folded.
"""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from dcc.importer.graph import Node

LARGEST_RESULT = 1 << 24
"""Elements above which a result is left to the module: ``Expand`` must not blow up constants."""

_NEVER = frozenset({"If", "Loop", "Scan", "LSTM", "GRU", "RNN"})
_RANDOM = ("Random", "Bernoulli", "Multinomial")


def is_foldable(node: Node) -> bool:
    """Whether a node gives the same result each time it is evaluated."""
    return node.operator not in _NEVER and not node.operator.startswith(_RANDOM)


def evaluate(node: Node, inputs: list[np.ndarray | None], opset: int) -> list[np.ndarray] | None:
    """Compute the outputs of ``node``, or None where ONNX's reference cannot."""
    names = [f"i{k}" if value is not None else "" for k, value in enumerate(inputs)]
    feeds = {f"i{k}": value for k, value in enumerate(inputs) if value is not None}
    outputs = [f"o{k}" if name else "" for k, name in enumerate(node.outputs)]
    proto = helper.make_node(node.operator, names, outputs, domain=node.domain, **node.attributes)
    infos = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feeds.items()
    ]
    results = [onnx.ValueInfoProto(name=name) for name in outputs if name]
    graph = helper.make_graph([proto], "folded", infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = ReferenceEvaluator(model).run(None, feeds)
    except Exception:
        # The module computes it then, and a node that is truly wrong fails in its converter.
        return None
    arrays = [np.asarray(value) for value in values]
    if any(a.size > LARGEST_RESULT or a.dtype.kind in "OUS" for a in arrays):
        return None
    present = iter(arrays)
    return [next(present) if name else np.empty(0) for name in outputs]
