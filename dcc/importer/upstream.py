"""Converters of TVM's ONNX importer: the only module that touches its private parts.

The graph itself is walked by :mod:`dcc.importer.walk`, because TVM's walk lists initialisers twice
and keeps shape arithmetic in the graph. See ``docs/upstream.md``.
"""

from __future__ import annotations

import contextlib
import io
import warnings

from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from dcc.importer.graph import DEFAULT_DOMAINS
from dcc.importer.operation import Operation

MICROSOFT_OPERATORS = frozenset({"Gelu", "FastGelu", "BiasGelu", "SkipLayerNormalization"})
"""Operators of the domain ``com.microsoft`` whose TVM converters were found right."""

_REFUSED = frozenset(
    {
        "AllClassNMS",
        "Attention",
        "Compress",
        "ConcatFromSequence",
        "EmbedLayerNormalization",
        "If",
        "MaxUnpool",
        "NonMaxSuppression",
        "NonZero",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "SplitToSequence",
        "Unique",
    }
)
"""Converters that give shapes known only at run time, or mean another operator of the same name."""


def supports(domain: str, operator: str) -> bool:
    """Whether TVM has a converter for an ONNX operator."""
    if domain == "com.microsoft":
        return operator in MICROSOFT_OPERATORS
    if operator in _REFUSED or operator.startswith("Sequence"):
        return False
    return domain in DEFAULT_DOMAINS and operator in onnx_frontend._get_convert_map()


def convert(operation: Operation) -> relax.Expr:
    """Expression of ``operation`` by TVM's converter: a tensor or a tuple of the node's outputs."""
    node = operation.node
    converter = onnx_frontend._get_convert_map()[node.operator]
    version = 1 if node.domain == "com.microsoft" else operation.opset
    inputs = onnx_frontend.onnx_input(
        operation.tensor(i) if operation.has(i) else None for i in range(len(node.inputs))
    )
    attributes = dict(node.attributes)
    attributes["tvm_custom"] = {"name": node.name, "num_outputs": len(node.outputs)}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # Converters look up parameters by name in these two tables to turn them into constants.
        result = converter.get_converter(version)(operation.builder, inputs, attributes, [{}, {}])
        return operation.builder.normalize(result)
