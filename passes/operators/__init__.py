"""Relax operators of dcc (``relax.dcc.*``): types, legalisation and a numpy oracle each."""

from dcc.passes.operators import coded_layer_types, encoded_weights  # noqa: F401 - they register
from dcc.passes.operators.recurrent import gru, lstm

__all__ = ["gru", "lstm"]
