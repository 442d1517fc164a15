"""Models that are refused as a whole, with the reason."""

from __future__ import annotations

from dcc.errors import ModelError
from dcc.importer.graph import Graph

_QUANTIZED = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "MatMulNBits",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
        "QAttention",
    }
)


def refuse_quantized(graph: Graph) -> None:
    """Refuse a graph with quantised operators.

    Raises
    ------
    ModelError
        Naming the first such node.
    """
    for node in graph.nodes:
        if node.operator in _QUANTIZED or node.operator.startswith(("QLinear", "QGemm")):
            raise ModelError(
                f"{node.label}: the model is already quantised (QDQ or integer operators); dcc "
                "shares and codes float weights itself: give it the float model"
            )
    for subgraph in graph.subgraphs():
        refuse_quantized(subgraph)
