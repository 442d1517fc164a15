"""ONNX operators as torch functions that can be trained through."""

from dcc.training.operators import elementwise, layers, moving, recurrent
from dcc.training.operators.registry import OPERATORS, OperatorCall

__all__ = ["OPERATORS", "OperatorCall", "elementwise", "layers", "moving", "recurrent"]
